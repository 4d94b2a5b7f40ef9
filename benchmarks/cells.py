"""What benchmarks/train.py compares: sizes of models, and tools in the ways that they are run. Free of torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

OURS = "wholegrain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The shape of a model, and of a step: `windows` of `seq_len` tokens."""

    name: str
    dim: int
    n_layers: int
    n_heads: int
    ffn_dim: int
    vocab_size: int
    seq_len: int
    windows: int

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.windows * self.seq_len

    @property
    def parameters(self) -> int:
        """Values of a Llama of this shape, whose head is its own."""
        return self._multiplied + self.vocab_size * self.dim + (2 * self.n_layers + 1) * self.dim

    @property
    def flops_per_token(self) -> int:
        """Operations of forward and backward: 6 for a weight that is multiplied, and causal attention's half."""
        return 6 * self._multiplied + 6 * self.n_layers * self.dim * self.seq_len

    @property
    def _multiplied(self) -> int:
        return self.n_layers * (4 * self.dim**2 + 3 * self.dim * self.ffn_dim) + self.dim * self.vocab_size


SIZES = {
    size.name: size
    for size in (
        Size(name="tiny", dim=256, n_layers=6, n_heads=4, ffn_dim=768, vocab_size=8192, seq_len=256, windows=16),
        Size(name="small", dim=512, n_layers=8, n_heads=8, ffn_dim=1536, vocab_size=16384, seq_len=512, windows=8),
        Size(name="medium", dim=768, n_layers=12, n_heads=12, ffn_dim=2048, vocab_size=32768, seq_len=1024, windows=2),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A tool in one way of running it; all cells have `ranks * threads` of 2.

    `is_compiled` is torch.compile, `is_fused` torch's fused AdamW, `is_preloaded` an allocator in LD_PRELOAD. Ours has
    its own fused update anyway.
    """

    tool: str
    is_compiled: bool = False
    is_fused: bool = False
    is_preloaded: bool = False
    ranks: int = 1

    @property
    def threads(self) -> int:
        """Threads of a rank."""
        return 2 // self.ranks

    @property
    def label(self) -> str:
        """The cell in words."""
        words = [self.tool]
        if self.tool == OURS:
            words.append("1 rank x 2 threads" if self.ranks == 1 else "2 ranks x 1 thread, zero1")
        words += ["compiled"] if self.is_compiled else []
        words += ["fused AdamW"] if self.is_fused else []
        return ", ".join([*words, *(["tcmalloc"] if self.is_preloaded else [])])


PLAIN = Cell(tool="transformers")
PEERS = ("transformers Trainer", "litgpt", "torchtitan", "nanoGPT-style")
# What those who care for speed run: of transformers it is the bar.
BEST = [Cell(tool=tool, is_compiled=True, is_fused=True, is_preloaded=True) for tool in ("transformers", *PEERS)]
OWN = [Cell(tool=OURS, is_compiled=True, is_preloaded=True, ranks=ranks) for ranks in (1, 2)]


def every_cell() -> Iterator[Cell]:
    """Every tool as it stands and compiled, ours on one rank and on two, each with and without the allocator."""
    for tool in ("transformers", *PEERS):
        for cell in (Cell(tool=tool), Cell(tool=tool, is_compiled=True, is_fused=True)):
            yield from (cell, replace(cell, is_preloaded=True))
    for ranks in (1, 2):
        for cell in (Cell(tool=OURS, ranks=ranks), Cell(tool=OURS, ranks=ranks, is_compiled=True)):
            yield from (cell, replace(cell, is_preloaded=True))


# By the word that --cells takes; the first is the plain loop, to which all are compared.
CELLS = {"bar": [PLAIN, BEST[0], *OWN], "peers": [PLAIN, *BEST, *OWN], "all": list(every_cell())}
