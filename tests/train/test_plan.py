"""Verb plan and its refusals: which ranks are planned for, against which memory, and what is refused before training.

A GPU's memory is read from an nvidia-smi of this test: none of that has met a GPU.
"""

import json
from pathlib import Path

import pytest

from core import gpu
from core.errors import ConfigError
from core.profile import ProfileConfig
from tests.conftest import run_module
from train.config import Placement
from train.fit import GPU, NODE, check_fit, rooms_here
from train.held import Cluster
from train.machine import Room, machine_room
from train.memory import LEAST_PROCESS_BYTES, PROCESS_BYTES
from train.plan import check_here, plan
from train.recipe import read_recipe
from train.seats import Started, asked, here, told_idle

# More than any machine has: 10^12 weights in a block's feed-forward.
HUGE = ("model.dim=65536", "model.n_heads=512", "model.n_kv_heads=512", "model.ffn_dim=4000000", "model.n_layers=2")


@pytest.mark.parametrize("placement", list(Placement))
def test_every_placement_is_refused_where_it_cannot_fit_and_warned_of_where_it_may_not(placement: Placement) -> None:
    recipe = read_recipe("smoke", [f"train.placement={placement.value}"])
    planned = plan(recipe, cluster=Cluster(ranks=4, node_ranks=2), seq_len=128)
    least, most = planned["least_bytes_of_node"], planned["bytes_of_node"]
    assert planned["sent_bytes_per_step"] > planned["parameters"]
    assert check_fit(planned, {NODE: Room(whole=most, free=most)}) == ""
    # What is free now may be freed by then, and the heap is a guess.
    warned = check_fit(planned, {NODE: Room(whole=least, free=0)})
    assert warned.startswith("warning: 2 ranks need up to ") and warned.count("\n") == 1
    with pytest.raises(
        ConfigError, match=r"2 ranks need at least .* GB of memory, .*, and there are .* GB in all; low"
    ):
        check_fit(planned, {NODE: Room(whole=least - 1, free=least - 1)})


def test_only_what_is_needed_for_certain_is_refused() -> None:
    planned = plan(read_recipe("smoke", []), cluster=Cluster(ranks=2, node_ranks=2), seq_len=128)
    held = {name: value for name, value in planned["bytes_per_rank"].items() if name not in ("total", "process")}
    computing = held["gathered"] + held["partials"] + max(held["activations"], held["gradients"])
    staying = held["weights"] + held["optimizer"] + held["snapshot"] + held["rollback"]
    certain = 0.8 * (staying + max(computing, held["exchange"], held["update"]))
    assert abs(planned["least_bytes_of_node"] - 2 * certain - LEAST_PROCESS_BYTES) < 10
    assert planned["bytes_of_node"] == 2 * (planned["bytes_per_rank"]["total"] + PROCESS_BYTES)


def test_the_verb_prints_numbers_and_behind_them_ends_with_64_where_nothing_fits() -> None:
    made = run_module("train", "plan", "smoke", "--json", "--ranks", "2")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["parameters"] == 3_147_456
    assert told["bytes_per_rank"]["weights"] == 4 * told["parameters"]
    refused = run_module("train", "plan", "smoke", "--memory-gb", "0.1")
    assert refused.returncode == 64
    assert "bytes_of_node" in refused.stdout and "a node of 0.10 GB" in refused.stdout
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: 2 ranks need at least ") and "lower train.micro_batch" in line


def test_ranks_are_those_that_the_recipe_launches_unless_the_command_line_says_others() -> None:
    assert asked("smoke", []) == Started(ranks=2, node_ranks=2)
    assert asked("smoke", ["launch=slurm"]) == Started(ranks=16, node_ranks=8)
    assert asked("smoke", ["launch=slurm"], ranks=4) == Started(ranks=4, node_ranks=4)
    assert asked("smoke", [], ranks=6, node_ranks=3) == Started(ranks=6, node_ranks=3)
    assert here("smoke", ["launch.ranks=3"]) == Started(ranks=3, node_ranks=3)
    assert here("smoke", ["launch=slurm"]) is None and here("smoke", ["launch.starter=srun"]) is None
    with pytest.raises(ConfigError, match=r"launch.ranks is 0; give a whole number"):
        here("smoke", ["launch.ranks=0"])


def test_ranks_without_work_are_told_and_not_planned_for() -> None:
    train = read_recipe("smoke", ["train.micro_batches=3"]).train
    many = Started(ranks=5, node_ranks=2)
    # Nodes need not be of one size where the placement knows none.
    assert many.cluster(train) == Cluster(ranks=3, node_ranks=2)
    assert told_idle(many, many.cluster(train)).startswith("warning: of 5 ranks the last 2 would be idle")
    hsdp = read_recipe("smoke", ["train.placement=hsdp"]).train
    uneven = Started(ranks=5, node_ranks=2)
    assert uneven.cluster(hsdp) == Cluster(ranks=4, node_ranks=2)
    all_at_work = Started(ranks=3, node_ranks=3)
    assert told_idle(all_at_work, all_at_work.cluster(train)) == ""


def test_the_verb_says_which_ranks_would_be_idle() -> None:
    made = run_module("train", "plan", "smoke", "--json", "--ranks=11", "--node-ranks=4", "--memory-gb=99")
    assert made.returncode == 0
    told = json.loads(made.stdout)
    assert (told["ranks"], told["sharing_ranks"], told["idle_ranks"]) == (8, 4, 3)
    assert made.stderr.startswith("warning: of 11 ranks the last 3 would be idle") and made.stderr.count("\n") == 1


def test_with_gpus_a_rank_is_held_against_its_gpu_and_the_hosts_part_against_the_node() -> None:
    arguments = ("train", "plan", "smoke", "profile=cuda", "--memory-gb=80", "--node-gb=64")
    made = run_module(*arguments)
    assert (made.returncode, made.stderr) == (0, "")
    assert "a GPU of 80.00 GB, a node of 64.00 GB" in made.stdout and "bytes_per_gpu" in made.stdout
    small = run_module(*arguments[:-2], "--memory-gb=0.01", "--node-gb=64")
    assert small.returncode == 64 and "1 rank needs at least" in small.stderr and "a GPU's memory" in small.stderr
    narrow = run_module(*arguments[:-1], "--node-gb=0.01")
    assert narrow.returncode == 64 and "2 ranks need at least" in narrow.stderr and "GB of memory" in narrow.stderr
    half = run_module(*arguments[:-1])
    assert half.returncode == 0 and "unknown here: a node's (--node-gb)" in half.stderr
    wrong = run_module("train", "plan", "smoke", "--node-gb=4")
    assert wrong.returncode == 64 and "--node-gb is for profiles with GPUs" in wrong.stderr


def test_memory_of_the_smallest_gpu_is_what_its_tool_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '81559, 80000\\n40960, 40000\\n81559, 1000\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setattr(gpu, "DRIVER", tool)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    profile: ProfileConfig = read_recipe("smoke", ["profile=cuda"]).profile
    rooms = rooms_here(profile)
    assert rooms[GPU] == Room(whole=40960 << 20, free=1000 << 20)
    assert rooms[NODE].whole == machine_room().whole
    tool.write_text("#!/bin/sh\necho '[N/A], [N/A]'\n")
    with pytest.raises(ConfigError, match=r"check gpu.memory failed, nvidia-smi says '\[N/A\], \[N/A\]'"):
        rooms_here(profile)


def test_a_recipe_that_cannot_fit_is_refused_before_anything_starts(tiny_recipe: Path) -> None:
    refused = run_module("launch", "run", tiny_recipe, *HUGE)
    assert refused.returncode == 64 and refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: 2 ranks need at least ") and "GB in all" in line
    assert not (tiny_recipe.parent / "runs").exists()


def test_what_would_train_elsewhere_is_not_held_against_this_machine(tiny_recipe: Path) -> None:
    recipe, elsewhere = str(tiny_recipe), [*HUGE, "launch.target=slurm"]
    assert check_here(recipe, elsewhere, recipe=read_recipe(recipe, elsewhere)) == ""
    with pytest.raises(ConfigError, match="2 ranks need at least"):
        check_here(recipe, HUGE, recipe=read_recipe(recipe, HUGE))


def _kernel(folder: Path, groups: str, files: dict[str, str]) -> Path:
    """A file system that tells of 9 GB, of which 8 are free, and of control groups."""
    memory = "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n"
    for name, content in {"proc/meminfo": memory, "proc/self/cgroup": groups, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_a_control_groups_limit_counts_whatever_its_version_and_wherever_above_it_stands(tmp_path: Path) -> None:
    free = _kernel(tmp_path / "free", "0::/job\n", {"sys/fs/cgroup/job/memory.max": "max\n"})
    assert machine_room(free) == Room(whole=9_000_000 * 1024, free=8_000_000 * 1024)
    files = {"memory.max": "3000000000\n", "memory.current": "2000000000\n", "memory.stat": "inactive_file 500000000\n"}
    second = _kernel(
        tmp_path / "second", "0::/job/step\n", {f"sys/fs/cgroup/job/{name}": text for name, text in files.items()}
    )
    assert machine_room(second) == Room(whole=3_000_000_000, free=1_500_000_000)
    files = {"memory.limit_in_bytes": "2000000000\n", "memory.usage_in_bytes": "1500000000\n"}
    first = _kernel(
        tmp_path / "first",
        "5:devices:/\n4:memory:/pod\n0::/\n",
        {f"sys/fs/cgroup/memory/{name}": text for name, text in files.items()},
    )
    assert machine_room(first) == Room(whole=2_000_000_000, free=500_000_000)
