"""Text in, token batches out.

Takes: source archives and files. Gives: documents, a tokenizer, token shards, and batches as a pure function of the
step. Imports: core. Never imports torch.
"""
