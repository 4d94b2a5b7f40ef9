"""Two loops in C for profiles that compile: AdamW's update in one pass, and the limbs of the gradient's norm.

Every operation is an IEEE 754 one, rounded by itself: contraction to fused multiply-adds is off and nothing is
reordered, so an element gets the same bits in a vector, in the tail behind it, and in any slice. So a long tensor is
cut over the profile's threads (threads.py).
"""

import ctypes
from functools import cache

import torch
from torch import Tensor

from train.native import compiled
from train.threads import in_threads, slices

SOURCE = """
#include <cmath>
#include <cstdint>

extern "C" void adamw(int64_t count, float *__restrict weights, const float *__restrict gradient,
                      float *__restrict exp_avg, float *__restrict exp_avg_sq, float scale, float kept, float share1,
                      float beta2, float share2, float root_correction2, float eps, float rate) {
    for (int64_t i = 0; i < count; i++) {
        float g = gradient[i] * scale;
        float m = exp_avg[i] + share1 * (g - exp_avg[i]);
        float v = exp_avg_sq[i] * beta2 + share2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        weights[i] = weights[i] * kept - rate * (m / (sqrtf(v) / root_correction2 + eps));
    }
}

extern "C" void square_limbs(int64_t count, const float *__restrict gradient, double factor, double upscale,
                             int64_t *__restrict limbs) {
    int64_t high = 0, low = 0;
    for (int64_t i = 0; i < count; i++) {
        double square = (double)gradient[i] * (double)gradient[i] * factor;
        double whole = std::floor(square);
        high += (int64_t)whole;
        low += (int64_t)std::floor((square - whole) * upscale);
    }
    limbs[0] = high;
    limbs[1] = low;
}
"""
# A shorter slice is done before another thread has woken.
LEAST_ELEMENTS = 1 << 16
FLOAT, DOUBLE, COUNT, ADDRESS = ctypes.c_float, ctypes.c_double, ctypes.c_int64, ctypes.c_void_p


def fused_adamw(
    weights: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    *,
    scale: float,
    kept: float,
    beta1: float,
    beta2: float,
    root_correction2: float,
    eps: float,
    rate: float,
) -> None:
    """Change weights and moments in place; `kept` is what decay leaves of a weight, `rate` that over correction1.

    Tensors are fp32, contiguous and on the CPU.
    """
    numbers = (scale, kept, 1 - beta1, beta2, 1 - beta2, root_correction2, eps, rate)
    tensors, change = (weights, gradient, *moments), _library().adamw

    def run(part: slice) -> None:
        change(part.stop - part.start, *(_address(tensor[part]) for tensor in tensors), *numbers)

    in_threads(run, slices(weights.numel(), least=LEAST_ELEMENTS))


def fused_square_limbs(gradient: Tensor, *, factor: float, upscale: float) -> tuple[int, int]:
    """The same integers as `train.norm.square_limbs` gives for one tensor."""
    add = _library().square_limbs

    def run(part: slice) -> list[int]:
        limbs = torch.empty(2, dtype=torch.int64)
        add(part.stop - part.start, _address(gradient[part]), factor, upscale, limbs.data_ptr())
        added: list[int] = limbs.tolist()
        return added

    parts = in_threads(run, slices(gradient.numel(), least=LEAST_ELEMENTS))
    return sum(high for high, _ in parts), sum(low for _, low in parts)


def _address(tensor: Tensor) -> int:
    assert tensor.dtype is torch.float32 and tensor.is_contiguous() and tensor.device.type == "cpu"
    return tensor.data_ptr()


@cache
def _library() -> ctypes.CDLL:
    library = compiled(SOURCE)
    library.adamw.argtypes = [COUNT, *[ADDRESS] * 4, *[FLOAT] * 8]
    library.square_limbs.argtypes = [COUNT, ADDRESS, DOUBLE, DOUBLE, ADDRESS]
    library.adamw.restype = library.square_limbs.restype = None
    return library
