"""The processes of a run: which one this is, what they say to each other, and how the loss of one shows.

The starter says who is who (starter.py); with one process nothing is sent. Everything that is sent is moved unchanged,
or integers whose sum has no order; the one exception is `add_floats`, for `train.sum=fast`.

torch 2.13's elastic agent cannot restart a group (its workers read the addresses of dead peers): whoever starts the
processes starts a new torchrun instead, and the run goes on from its last checkpoint.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# Imported after a group was made, it keeps that group as a default of its functions: destroyed, the group's threads run
# on, and one that lets go of a tensor while Python ends aborts a rank that has done everything.
import torch.distributed.nn.functional
from torch import Tensor
from torch._C._distributed_c10d import FileStore, HashStore, PrefixStore, Store, TCPStore

from core.cli import end_at_once
from core.errors import RetryError
from core.gpu import failed
from core.kept import kept
from train.starter import Seat

# The backend of each kind of device. nccl has not been exercised: no machine with a GPU has run this yet.
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
FIRST = 0


class World:
    """All ranks of a run, or those of `group`, seen from one of them.

    Every method but the properties is called by all its ranks together. `device` is cpu or cuda, which then is the GPU
    that this rank has taken; what is sent from elsewhere is moved there first, since nccl sends nothing else.
    """

    def __init__(
        self, *, rank: int, size: int, device: str, node_ranks: int = 1, group: dist.ProcessGroup | None = None
    ) -> None:
        self.rank, self.size, self.device, self.node_ranks = rank, size, device, node_ranks
        self._group = group

    @property
    def alone(self) -> "World":
        """This rank as if there were no other."""
        return World(rank=FIRST, size=1, device=self.device)

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks, writes and decides for all."""
        return self.rank == FIRST

    def share(self, value: Any) -> Any:
        """What the first rank gave, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, group=self._group, group_src=FIRST)
        return box[0]

    def collect(self, value: Any) -> list[Any]:
        """What every rank gave, in the order of ranks, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            dist.barrier(group=self._group)

    def largest(self, value: int) -> int:
        """The largest of the ranks' integers."""
        if self.size == 1:
            return value
        box = torch.tensor(value, dtype=torch.int64, device=self.device)
        dist.all_reduce(box, op=dist.ReduceOp.MAX, group=self._group)
        return int(box)

    def add_integers(self, values: Tensor) -> None:
        """Replace an integer tensor by its sum over ranks."""
        assert not values.is_floating_point()
        if self.size > 1:
            here = values.to(self.device)
            dist.all_reduce(here, group=self._group)
            if here is not values:
                values.copy_(here)

    def add_floats(self, values: Tensor) -> None:
        """Replace a tensor by its sum over ranks, in an order that the backend chooses."""
        if self.size > 1:
            dist.all_reduce(values, group=self._group)

    def exchange(self, send: Tensor, *, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Send `sent[r]` consecutive values to rank r; returns what came, in the order of ranks, `received[r]` each."""
        if self.size == 1:
            return send
        output = torch.empty(sum(received), dtype=send.dtype, device=self.device)
        dist.all_to_all_single(output, send.to(self.device), list(received), list(sent), group=self._group)
        return output

    def gather_into(self, whole: Tensor, part: Tensor, *, counts: Sequence[int]) -> None:
        """Fill `whole` on every rank with the ranks' parts, of `counts[r]` values each; they may differ."""
        if self.size > 1:
            # gloo's all_gather wants equal parts. The copies of `part` may lie in `whole`, so they are made first.
            sent = [part.numel()] * self.size
            dist.all_to_all_single(whole, part.repeat(self.size), list(counts), sent, group=self._group)


@contextmanager
def open_world(seat: Seat, *, device: str, timeout_s: float, is_grouped: bool) -> Iterator[World]:
    """Join the other ranks at work. `is_grouped` asks for a process group even if there is one rank only.

    Raises RetryError when a peer is lost or does not answer within `timeout_s`.
    """
    rank, size = seat.rank, seat.world_size
    taken = take_gpu(int(os.environ.get("LOCAL_RANK", "0"))) if device == "cuda" else None
    try:
        if size > 1:
            # What a placement keeps of the group lives until Python ends, and its threads with it.
            end_at_once()
            timeout = timedelta(seconds=timeout_s)
            store = kept_store(timeout_s=timeout_s)
            dist.init_process_group(
                BACKENDS[device], timeout=timeout, rank=rank, world_size=size, store=store, device_id=taken
            )
        elif is_grouped:
            dist.init_process_group(BACKENDS[device], store=HashStore(), rank=0, world_size=1, device_id=taken)
        yield World(rank=rank, size=size, device=device, node_ranks=seat.node_ranks)
        # Only after success: a rank that fails says why first (core.cli), and its peers see it go when it has ended.
        if dist.is_initialized():
            dist.destroy_process_group()
    except RuntimeError as error:
        if not is_peer_failure(error):
            raise
        reason = str(error).splitlines()[0][:200]
        raise RetryError(f"rank {rank} of {size} lost a peer ({reason}); start the run again") from error


@contextmanager
def open_group(meeting: Path, *, rank: int, size: int, timeout_s: float) -> Iterator[None]:
    """Join other processes of this machine, on its CPU, through a file that none of them has made yet."""
    store = FileStore(str(meeting), size)
    dist.init_process_group(
        BACKENDS["cpu"], store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
    )
    yield
    # Nobody leaves before the others have read what it sent.
    dist.barrier()
    dist.destroy_process_group()


def take_gpu(local_rank: int) -> torch.device:
    """Make a GPU this process's own: the only one it sees, else that of its place among the ranks of its node.

    Raises ConfigError if there are fewer. Not exercised here.
    """
    count = torch.cuda.device_count()
    if count != 1 and local_rank >= count:
        raise failed(
            "torch.device", f"rank {local_rank} of this node has no GPU, torch sees {count}; start fewer ranks"
        )
    device = torch.device("cuda", 0 if count == 1 else local_rank)
    torch.cuda.set_device(device)
    return device


def kept_store(*, timeout_s: float) -> Store | None:
    """Where the ranks of a keeper's generation meet, or None without a keeper.

    The first rank holds it, listening where its keeper has listened since before the others were told. So it is lost
    with its rank only, and every generation has a new one: keys of an older one are met by nobody.
    """
    told = kept()
    if told is None:
        return None
    store = TCPStore(
        told.host,
        told.port,
        is_master=told.listening >= 0,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
        master_listen_fd=told.listening if told.listening >= 0 else None,
    )
    return PrefixStore(f"gen{told.generation}", store)


def is_peer_failure(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone or silent. gloo has no type of its own for that."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)
