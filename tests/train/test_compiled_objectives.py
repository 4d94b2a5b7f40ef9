"""SFT and preferences in the parts of profile native, compiled: the same bits on one rank and on two. Real g++."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from core.ledger import read_lines
from tests.train.chats import Chats
from tests.train.ranks import run_ranks
from tests.train.runs import finished_folder, result_of
from train.config import Objective
from train.run import main

# conf/profile/native.yaml but for the environment, which the ranks' parent has fixed.
NATIVE = (
    *("profile.is_bound_to_cpu_model=true", "profile.compute=bf16", "profile.attention=blocked"),
    *("profile.is_compiled=true", "profile.is_update_fused=true", "profile.is_sqrt_in_float64=false"),
)
SHORT = ("train.steps=2", "train.save_every_steps=1", "train.timeout_s=600")
# Compiled code takes g++ half a minute of one core, and several times that where cores are shared.
DEADLINE_S = 1800.0


def run_in_cache(arguments: Sequence[str], *, kept: Path) -> None:
    """A run of a user with a cache folder of their own."""
    os.environ["XDG_CACHE_HOME"] = str(kept)
    main(arguments)


def train(chats: Chats, out: Path, objective: Objective, *overrides: str, ranks: int, kept: Path) -> Path:
    arguments = chats.arguments(out, objective, *SHORT, *overrides)
    verb = partial(run_in_cache, kept=kept)
    ended = run_ranks(ranks, verb, [arguments], notes=out / "notes", deadline_s=DEADLINE_S)
    assert ended.exit_codes == [0] * ranks, ended.messages
    return out


def losses_of(out: Path) -> list[float]:
    return [float.fromhex(line["loss"]) for line in read_lines(finished_folder(out) / "ledger.jsonl")[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Objective.SFT, Objective.PREFERENCE])
def test_a_compiled_objective_gives_the_same_bits_on_one_rank_and_on_two(
    chats: Chats, tmp_path: Path, objective: Objective
) -> None:
    kept = tmp_path / "cache"
    one = train(chats, tmp_path / "one", objective, *NATIVE, ranks=1, kept=kept)
    libraries = {path.name for path in kept.glob("wholegrain/compiled/[!.]*/**/*.so")}
    two = train(chats, tmp_path / "two", objective, *NATIVE, "train.placement=fsdp2", ranks=2, kept=kept)
    assert libraries, "it was compiled"
    assert result_of(one) == result_of(two)
    plain = train(chats, tmp_path / "plain", objective, ranks=1, kept=kept)
    assert result_of(one).weights != result_of(plain).weights, "bf16 rounds otherwise"
    # Products in bf16 have 8 bits; a mean over hundreds of targets is nearer than one of them.
    assert losses_of(one) == pytest.approx(losses_of(plain), rel=5e-3)
