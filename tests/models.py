"""A small model for tests that need one in memory, without a recipe or a checkpoint."""

from model.config import ModelConfig


def small_config() -> ModelConfig:
    """Two layers, four query heads over two key-value heads."""
    return ModelConfig(
        dim=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        ffn_dim=64,
        vocab_size=100,
        max_seq_len=64,
        rope_theta=10000.0,
        norm_eps=1e-5,
        is_embedding_tied=False,
        init_std=0.02,
    )
