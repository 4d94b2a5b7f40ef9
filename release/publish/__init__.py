"""Bundles on their way: to folders, stores, hubs, registries and torrents, and back.

Takes a bundle's folder or the address of one, gives the same bytes at the other end; may import core and release.
"""
