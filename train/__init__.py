"""Batches to checkpoints.

Takes: token shards and a configuration. Gives: checkpoints, the ledger, the journal. Imports: core, data, model.
Start reading at loop.py.
"""
