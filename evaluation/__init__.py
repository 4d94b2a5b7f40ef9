"""Checkpoint to scores.

Takes: a checkpoint, a tokenizer and held-out documents. Gives: bits per byte beside baselines, and samples.
Imports: core, data, model, inference.
"""
