"""Mathematics only; no processes, no files.

Takes: a configuration and tensors. Gives: initial weights, logits and losses. Imports: core, torch.

Shape suffixes of tensors, everywhere in the house:
    B batch, T position, D model width, H query head, G key-value head, K head width, F feed-forward width,
    V vocabulary. A suffix names the logical size, also when the tensor is sharded.
"""
