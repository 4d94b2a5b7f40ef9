"""Checkpoint to text.

Takes: a checkpoint and a tokenizer. Gives: samples, and a folder that Hugging Face's transformers loads.
Imports: core, data, model.
"""
