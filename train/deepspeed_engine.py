"""Starts DeepSpeed's engine, and says where in its partitions the parameters lie. Made for deepspeed 0.19.8.

The engine is given our rule as its optimizer: DeepSpeed decides when it is called and with which partition, it decides
what is done to the partition's elements. Some names here are not part of DeepSpeed's public interface; so the version
is pinned, and tests/train/test_deepspeed.py holds every stage against the other placements.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from core.errors import ConfigError
from train.config import Optimizer
from train.groups import Group
from train.needs import check_deepspeed
from train.placed import Act, Segment, Span
from train.runtime import World

# So that a parameter group stays in one piece: a group's rule is called once a step.
ENDLESS = 10**15


@dataclass(frozen=True, slots=True)
class Place:
    """A span, and at which element of its rank's partition of a parameter group it begins."""

    span: Span
    at: int


class PluggedRule(torch.optim.Optimizer):
    """Our update as an optimizer of torch's: what DeepSpeed calls once a parameter group, with its partition.

    `state` holds the moments, flat, as DeepSpeed expects of an optimizer; the segments' tensors are views of them.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        super().__init__(
            [{"params": list(group), "number": number} for number, group in enumerate(groups)], {"lr": 0.0}
        )
        self.act: Act | None = None
        self.segments: list[list[Segment]] = []
        self.places: list[list[Place]] = []
        self._matrices: list[bool] = []

    def plug(
        self,
        partitions: Sequence[Tensor],
        places: Sequence[Sequence[Place]],
        kinds: Sequence[Group],
        *,
        is_pinned: bool = False,
    ) -> None:
        """Say what lies where in this rank's partition of every group; makes the moments, zero."""
        self.places = [list(own) for own in places]
        self._matrices = [kind.optimizer is Optimizer.MUON for kind in kinds]
        for partition, own, kind in zip(partitions, places, kinds, strict=True):
            weights = partition.detach()
            flat = {moment: torch.zeros_like(weights, pin_memory=is_pinned) for moment in kind.moments}
            self.state[partition] = dict(flat)
            self.segments.append([_segment(place, kind, weights=weights, moments=flat) for place in own])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the group whose partition DeepSpeed has put into `param_groups`, by the gradient it has put there."""
        assert self.act is not None
        for group in self.param_groups:
            number = group["number"]
            for partition in group["params"]:
                gradients = [partition.grad[place.at : place.at + place.span.count] for place in self.places[number]]
                self.act(self.segments[number], gradients, has_matrices=self._matrices[number])


def _segment(place: Place, kind: Group, *, weights: Tensor, moments: Mapping[str, Tensor]) -> Segment:
    at = slice(place.at, place.at + place.span.count)
    return Segment(place.span, kind, weights[at], {name: flat[at] for name, flat in moments.items()})


class Engine:
    """DeepSpeed's engine around a model that is filled with its weights, at a ZeRO stage.

    `places` says for every rank where in its partitions what lies. The process group must be there already.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: PluggedRule,
        *,
        units: Sequence[nn.Module],
        stage: int,
        is_offloaded: bool,
        native_steps: int,
        world: World,
    ) -> None:
        """`native_steps` is the number of micro-steps that the engine reduces itself, or 0 if it reduces nothing.

        Raises ConfigError if DeepSpeed is not installed in the version that this was made for.
        """
        deepspeed = imported(world.device)
        if stage == 3 and not native_steps:
            gather_whole(deepspeed, units)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._stage, self._is_offloaded, self._rule = stage, is_offloaded, rule
        is_on_gpu = world.device == "cuda"
        self.is_pinned = is_offloaded and is_on_gpu
        config = engine_config(
            stage=stage, is_offloaded=is_offloaded, native_steps=native_steps, is_pinned=self.is_pinned
        )
        with told_gpu(torch.cuda.current_device() if is_on_gpu else None):
            deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
            self.module, *_ = deepspeed.initialize(model=model, optimizer=rule, config=config, dist_init_required=False)
        self._zero: Any = self.module.optimizer
        if not native_steps:
            self._leave_gradients()
            if stage == 3:
                gather_rest(deepspeed, model)
        self.partitions: list[Tensor] = (
            self._zero.fp32_partitioned_groups_flat if stage == 3 else self._zero.single_partition_of_fp32_groups
        )
        places = _places_by_parameter if stage == 3 else _places_in_flat
        self.places = [places(self._zero, names, rank) for rank in range(world.size)]

    def _leave_gradients(self) -> None:
        """Leave gradients to whoever takes them, and have no reduction follow a backward."""
        self.module.enable_backward_allreduce = False
        # What its context manager coalesce_grad_reduction sets.
        self._zero._coalesce_grad_reduction = True
        # For units as a whole; they would put zeros where a gradient has been taken.
        for hook in getattr(self._zero, "_leaf_module_hooks", []):
            hook.remove()

    def backward(self, loss: Tensor, *, scale_wrt_gas: bool) -> None:
        """The engine's backward."""
        self.module.backward(loss, scale_wrt_gas=scale_wrt_gas)

    def set_gradient_accumulation_boundary(self, is_boundary: bool) -> None:
        """Say whether the next backward is the step's last."""
        self.module.set_gradient_accumulation_boundary(is_boundary)

    def averaged(self) -> list[Tensor]:
        """What the engine has reduced, for every place of this rank."""
        numbers = range(len(self.partitions))
        flat = [self._averaged(number) for number in numbers]
        return [
            flat[number][place.at : place.at + place.span.count]
            for number in numbers
            for place in self._rule.places[number]
        ]

    def feed(self, gradients: Sequence[Tensor]) -> None:
        """Give the engine gradients, one for every place of this rank, as those that it has averaged."""
        left = iter(gradients)
        for number, partition in enumerate(self.partitions):
            flat = cast(Tensor, partition.grad) if self._is_offloaded else torch.zeros_like(partition)
            for place in self._rule.places[number]:
                flat[place.at : place.at + place.span.count].copy_(next(left))
            if not self._is_offloaded:
                self._zero.averaged_gradients[number] = [flat]

    def step(self) -> None:
        """Have the engine call the rule for every group, and gather the weights."""
        self.module.step()

    def forget(self) -> None:
        """Drop what was reduced, as the engine does where it skips a step."""
        self._zero.zero_grad(set_to_none=True)
        self._zero.averaged_gradients = {}
        if self._is_offloaded:
            self._zero.reset_cpu_buffers()
        if self._stage < 3:
            self._zero.micro_step_id = -1
            self._zero.all_grad_tensors = {}

    def refresh(self) -> None:
        """Bring partitions to the weights, as the engine does behind its rule."""
        zero = self._zero
        with torch.no_grad():
            if self._stage < 3:
                zero.update_lp_params()
                return
            zero._partition_all_parameters()
            for number in range(len(self.partitions)):
                zero._reassign_or_swap_out_partitioned_parameters(number)
            if zero.persistent_parameters:
                zero.persistent_parameters[0].all_gather(zero.persistent_parameters)

    def _averaged(self, number: int) -> Tensor:
        if self._is_offloaded:
            return cast(Tensor, self.partitions[number].grad)
        return torch.cat([part.reshape(-1) for part in self._zero.averaged_gradients[number]])


def imported(device: str) -> Any:
    """The package, without a compilation, a file or a word of it.

    Raises ConfigError if it is not there in our version, or if the environment has it take another kind of device.
    """
    check_deepspeed()
    asked = os.environ.get("DS_ACCELERATOR", device)
    if asked != device:
        raise ConfigError(f"the environment sets DS_ACCELERATOR to {asked}, profile.device is {device}; unset it")
    # DeepSpeed asks for each of these; without the last one it tells on standard output what it has found.
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("DS_ACCELERATOR", device)):
        os.environ.setdefault(name, value)
    # It calls torch by names that torch 2.13 is about to drop.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*is deprecated")
    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.ERROR)
    import deepspeed
    from deepspeed import ops

    # Again: its import sets the level.
    logger.setLevel(logging.ERROR)
    if device == "cpu":
        # Otherwise init_distributed compiles it with g++, for minutes and without a word; a build that was killed
        # leaves a lock that the next start waits for without end, and an abort 69 MB a rank in /dev/shm. Training has
        # no use for it.
        ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


@contextmanager
def told_gpu(index: int | None) -> Iterator[None]:
    """Have DeepSpeed take the GPU that this rank has taken (runtime.py): it takes the one that LOCAL_RANK counts to.

    Where every rank sees one GPU alone, that one is not there. None, on a CPU, changes nothing.
    """
    before = os.environ["LOCAL_RANK"]
    if index is not None:
        os.environ["LOCAL_RANK"] = str(index)
    try:
        yield
    finally:
        os.environ["LOCAL_RANK"] = before


def gather_whole(deepspeed: Any, units: Sequence[nn.Module]) -> None:
    """Have stage 3 gather the weights of each unit at once, with hooks around the unit and none inside it.

    A hook is a node of autograd's graph. Around a norm, one would have the gradient of what enters it added up before
    that of the residual stream joins: other bits than without hooks. Between units nothing is added up.
    """
    for unit in units:
        deepspeed.utils.set_z3_leaf_module(unit, True)


def gather_rest(deepspeed: Any, model: nn.Module) -> None:
    """Have stage 3 gather what is in no unit with the model, and take its hooks off the modules inside.

    The loss is compiled as one graph (forward.py), which has no room for a hook around the last norm.
    """
    for module in model.modules():
        rest = [one for one in module.parameters(recurse=False) if not hasattr(one, "ds_z3_leaf_module")]
        if rest and module is not model:
            module._forward_pre_hooks.clear()
            module._forward_hooks.clear()
            for parameter in rest:
                deepspeed.zero.register_external_parameter(model, parameter)


def engine_config(*, stage: int, is_offloaded: bool, native_steps: int, is_pinned: bool = False) -> dict[str, Any]:
    """DeepSpeed's configuration. Clipping, rates and batches are ours: it sees one micro-batch a backward."""
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": False,
        "sub_group_size": ENDLESS,
        # Stage 3 would put a linear layer of its own in the place of torch's, for the whole process. At the shapes that
        # were tried (fp32 and bf16 on a CPU) its gradients had torch's bits; nothing says so of others.
        "memory_efficient_linear": False,
    }
    if not native_steps:
        # No buckets: nothing goes through them.
        zero |= {"contiguous_gradients": False}
    if is_offloaded:
        zero |= {"offload_optimizer": {"device": "cpu", "pin_memory": is_pinned}}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": native_steps or 1,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": 0.0,
        "steps_per_print": ENDLESS,
    }


def _places_in_flat(optimizer: Any, names: Mapping[int, str], rank: int) -> list[list[Place]]:
    """Stages 1 and 2 lay a group's parameters behind each other and cut that in equal parts."""
    places = []
    for group, offsets, size in zip(
        optimizer.round_robin_bit16_groups,
        optimizer.round_robin_bit16_offsets,
        optimizer.partition_size,
        strict=True,
    ):
        own = []
        for parameter, offset in zip(group, offsets, strict=True):
            start = max(rank * size - offset, 0)
            stop = min((rank + 1) * size - offset, parameter.numel())
            if start < stop:
                own.append(Place(Span(names[id(parameter)], start, stop), offset + start - rank * size))
        places.append(own)
    return places


def _places_by_parameter(optimizer: Any, names: Mapping[int, str], rank: int) -> list[list[Place]]:
    """Stage 3 cuts every parameter in equal parts."""
    places = []
    for group in optimizer.fp16_groups:
        own, at = [], 0
        for parameter in group:
            size = parameter.partition_numel()
            start, stop = rank * size, min((rank + 1) * size, parameter.ds_numel)
            if start < stop:
                own.append(Place(Span(names[id(parameter)], start, stop), at))
            at += size
        places.append(own)
    return places
