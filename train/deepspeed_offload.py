"""Optimizer state on the host of a GPU: the update is made on the GPU all the same, a segment at a time.

ZeRO-Offload (Ren et al. 2021, arXiv:2101.06840) makes it on the host. It would have other bits there: CUDA's compiler
contracts products and sums to fused multiply-adds (nvcc's -fmad, on by default), a host's need not, and placement must
not change a bit. The price each step is 16 bytes a parameter to the GPU and 12 back, on top of ZeRO-Offload's 4 and 4.
With Muon all matrices of a rank go at once, since they are exchanged together. Not exercised here: no GPU was there.
"""

from collections.abc import Sequence

from torch import Tensor

from train.placed import Act, Segment


def staged(act: Act, *, device: str) -> Act:
    """`act` with segments and gradients brought to a device, and what it made of the segments brought back."""

    def act_there(segments: Sequence[Segment], gradients: Sequence[Tensor], /, *, has_matrices: bool = True) -> None:
        together = [(list(segments), list(gradients))]
        alone = [([segment], [gradient]) for segment, gradient in zip(segments, gradients, strict=True)]
        for own, parts in together if has_matrices else alone:
            there = [_brought(segment, device) for segment in own]
            act(there, [_copied(gradient, device) for gradient in parts], has_matrices=has_matrices)
            for segment, changed in zip(own, there, strict=True):
                segment.weights.copy_(changed.weights)
                for name, moment in segment.moments.items():
                    moment.copy_(changed.moments[name])

    return act_there


def _brought(segment: Segment, device: str) -> Segment:
    moments = {name: _copied(moment, device) for name, moment in segment.moments.items()}
    return Segment(segment.span, segment.group, _copied(segment.weights, device), moments)


def _copied(tensor: Tensor, device: str) -> Tensor:
    return tensor.to(device, copy=True)
