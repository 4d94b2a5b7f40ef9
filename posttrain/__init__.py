"""Checkpoint to checkpoint.

Takes: the weights of trained models. Gives: a model that is merged of several, and one whose weights are quantized.
Imports: core, data, model, train.
"""
