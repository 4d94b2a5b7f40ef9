"""What this machine gives at most for matrix products: `python -m benchmarks.limit [THREADS]` prints a table.

The three products of a linear layer (forward, gradient of the input, gradient of the weight), at shapes of the sizes of
cells.py and at one large square; best of many, so other work on the machine can only lower it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.cells import SIZES

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BUDGET_S, LEAST = 0.3, 3
SQUARE = 2048

Shape = tuple[int, int, int]


def main() -> None:
    """Print GFLOP/s by shape and role, then the best of each type as JSON."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    peaks = dict.fromkeys(DTYPES, 0.0)
    sys.stdout.write("| tokens, in, out | type | x W^T | g W | g^T x |\n|---|---|---|---|---|\n")
    for shape in shapes():
        for name, dtype in DTYPES.items():
            rates = [best(run) * 2e-9 * shape[0] * shape[1] * shape[2] for run in roles(shape, dtype)]
            peaks[name] = max(peaks[name], *rates)
            told = " | ".join(f"{rate:.0f}" for rate in rates)
            sys.stdout.write(f"| {', '.join(map(str, shape))} | {name} | {told} |\n")
    sys.stdout.write(json.dumps({name: peak * 1e9 for name, peak in peaks.items()}) + "\n")


def shapes() -> Iterator[Shape]:
    """Tokens, input width and output width of products; the widest of each size, and a square."""
    for size in SIZES.values():
        yield size.tokens, size.dim, size.ffn_dim
    yield SQUARE, SQUARE, SQUARE


def roles(shape: Shape, dtype: torch.dtype) -> list[Callable[[], Tensor]]:
    """The three products."""
    tokens, inner, outer = shape
    x, w, g = (torch.randn(rows, width).to(dtype) for rows, width in ((tokens, inner), (outer, inner), (tokens, outer)))
    return [lambda: x @ w.t(), lambda: g @ w, lambda: g.t() @ x]


def best(run: Callable[[], Tensor]) -> float:
    """Calls per second of the fastest call."""
    run()
    seconds: list[float] = []
    end = time.perf_counter() + BUDGET_S
    while len(seconds) < LEAST or time.perf_counter() < end:
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return 1 / min(seconds)


if __name__ == "__main__":
    main()
