"""Reads artifacts; gives a bundle, and verdicts on bundles.

Takes: artifact folders. Gives: a bundle that is closed under hashes, and its verification and reproduction.
Imports: core; it meets the stages only as processes and files.
"""
