"""Section `model`: the shape of a transformer, with its parameter and FLOP counts. Free of torch.

The shape is that of Llama (Touvron et al. 2023, arXiv:2302.13971), with grouped-query attention (Ainslie et al. 2023,
arXiv:2305.13245).
"""

from dataclasses import dataclass

from core.errors import ConfigError

# Elements that torch's AVX2 loops take at a time; what is left over is computed by another exponential (see below).
VECTOR_ELEMENTS = 16


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The shape of a transformer and the standard deviation of its initial weights: all identity."""

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    ffn_dim: int
    vocab_size: int
    max_seq_len: int
    rope_theta: float
    norm_eps: float
    is_embedding_tied: bool
    init_std: float
    # Norms on every head's queries and keys (Dehghani et al. 2023, arXiv:2302.05442, section 2).
    is_qk_normed: bool = False
    # Logits become cap * tanh(logits / cap) (Gemma 2, arXiv:2408.00118, section 2); 0 leaves them alone.
    logit_softcap: float = 0.0
    # The width at which rates and initial weights were found, for a model that is wider by more heads; 0: this width.
    base_dim: int = 0

    def __post_init__(self) -> None:
        self._check_sizes()
        if self.logit_softcap < 0 or self.base_dim < 0:
            raise ConfigError(
                f"model.logit_softcap is {self.logit_softcap} and base_dim {self.base_dim}; give 0 or above"
            )
        if self.base_dim and self.is_embedding_tied:
            raise ConfigError(
                "model.base_dim scales the head and not the embedding, which is_embedding_tied makes one; untie them"
            )
        if self.dim % self.n_heads:
            raise ConfigError(
                f"model.dim {self.dim} does not divide over {self.n_heads} heads; use a multiple of {self.n_heads}"
            )
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(
                f"model.n_heads {self.n_heads} does not divide over {self.n_kv_heads} key-value heads; "
                f"use a multiple of {self.n_kv_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(
                f"a head is {self.head_dim} wide (model.dim {self.dim} over {self.n_heads} heads), and rotation turns "
                "pairs; choose dim and n_heads so that it is even"
            )
        # torch computes the tail of silu one by one, by the C library's exp, which no profile fixes: 4% of the
        # values of a tensor of 8 elements have other bits than in a tensor of 16.
        if self.ffn_dim % VECTOR_ELEMENTS:
            raise ConfigError(
                f"model.ffn_dim {self.ffn_dim} leaves a vector tail, whose bits depend on the C library; "
                f"use a multiple of {VECTOR_ELEMENTS}"
            )

    def _check_sizes(self) -> None:
        sizes = {
            "dim": self.dim,
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "ffn_dim": self.ffn_dim,
            "vocab_size": self.vocab_size,
            "max_seq_len": self.max_seq_len,
            "rope_theta": self.rope_theta,
            "norm_eps": self.norm_eps,
            "init_std": self.init_std,
        }
        for name, size in sizes.items():
            if not size > 0:
                raise ConfigError(f"model.{name} is {size}; it must be above 0")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.n_heads

    @property
    def width_factor(self) -> float:
        """How many times wider the model is than the one whose hyper-parameters it takes over."""
        return self.dim / self.base_dim if self.base_dim else 1.0

    @property
    def kv_dim(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.n_kv_heads * self.head_dim

    @property
    def parameter_count(self) -> int:
        """Number of trained values; a tied embedding counts once."""
        return self._matrix_parameters + self._norm_parameters + (0 if self.is_embedding_tied else self._table)

    def flops_per_token(self, seq_len: int) -> int:
        """Floating-point operations of forward and backward for one token of a window of `seq_len`.

        6 for each weight that is multiplied, and 12 n_layers dim seq_len for attention, whose masked half is counted
        too (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
        """
        return 6 * self._matrix_parameters + 12 * self.n_layers * self.dim * seq_len

    @property
    def _table(self) -> int:
        return self.vocab_size * self.dim

    @property
    def _matrix_parameters(self) -> int:
        attention = 2 * self.dim * self.dim + 2 * self.dim * self.kv_dim
        return self.n_layers * (attention + 3 * self.dim * self.ffn_dim) + self._table

    @property
    def _norm_parameters(self) -> int:
        of_heads = 2 * self.n_layers * self.head_dim if self.is_qk_normed else 0
        return (2 * self.n_layers + 1) * self.dim + of_heads
