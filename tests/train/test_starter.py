"""Who a process is, as torchrun, deepspeed and srun say it; and how many of those started have work."""

import pytest

from core.errors import ConfigError
from tests.train.configs import train_config
from train.config import Placement
from train.starter import Seat, first_host, take_seat, tasks_per_node, torchrun_words, working_ranks

TASK = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "3",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "24",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_TASKS_PER_NODE": "8(x3)",
    "SLURM_STEP_NODELIST": "gpu[007-009]",
}


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what started the tests."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")


def test_without_a_starter_there_is_one_process() -> None:
    assert take_seat(train_config()) == Seat(rank=0, world_size=1, started=1, node_ranks=1)


def test_what_srun_says_in_torchruns_words() -> None:
    assert torchrun_words(TASK) == {
        "RANK": "9",
        "WORLD_SIZE": "24",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "8",
        "MASTER_ADDR": "gpu007",
        "MASTER_PORT": "21235",
    }
    assert torchrun_words(TASK | {"SLURM_STEP_NUM_NODES": "1"})["MASTER_ADDR"] == "127.0.0.1"
    assert torchrun_words(TASK | {"MASTER_ADDR": "head", "MASTER_PORT": "1"})["MASTER_ADDR"] == "head"


def test_torchrun_inside_a_task_has_the_last_word() -> None:
    assert torchrun_words(TASK | {"RANK": "0"}) == {}


def test_a_batch_script_is_no_task_whatever_stands_in_its_environment() -> None:
    assert torchrun_words({"SLURM_JOB_ID": "77", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "24"}) == {}


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n[1-2]", "n1"), ("gpu[007,009-012],login", "gpu007"), ("a-3,b-4", "a-3"), ("r[1-4]-ib", "r1-ib")],
)
def test_the_first_host_of_a_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_a_list_of_hosts_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="set MASTER_ADDR"):
        first_host("[1-2]")


@pytest.mark.parametrize(("tasks", "first"), [("1", 1), ("8(x3)", 8), ("8(x3),4", 8), ("2,1", 2)])
def test_tasks_of_the_first_node(tasks: str, first: int) -> None:
    assert tasks_per_node(tasks) == first


@pytest.mark.parametrize(
    ("how", "node_ranks", "started", "local", "working"),
    [
        (Placement.ZERO1, 0, 1, 1, (1, 1)),
        (Placement.ZERO1, 0, 8, 4, (8, 4)),
        (Placement.FSDP2, 0, 12, 4, (8, 4)),
        (Placement.HSDP, 0, 8, 4, (8, 4)),
        (Placement.HSDP, 0, 6, 3, (6, 3)),
        (Placement.HSDP, 0, 12, 3, (6, 3)),
        (Placement.HSDP, 2, 7, 7, (6, 2)),
        (Placement.HSDP, 5, 8, 8, (5, 5)),
        (Placement.HSDP, 16, 9, 9, (8, 8)),
    ],
)
def test_how_many_of_the_ranks_have_work_in_a_step_of_eight_micro_batches(
    how: Placement, node_ranks: int, started: int, local: int, working: tuple[int, int]
) -> None:
    config = train_config(placement=how, node_ranks=node_ranks)
    assert working_ranks(config, started=started, local=local) == working


def test_a_rank_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigError, match="RANK is 'first' in the environment, no number"):
        take_seat(train_config())


def test_deepspeeds_word_for_the_ranks_of_a_node_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "6"), ("LOCAL_SIZE", "3")):
        monkeypatch.setenv(name, value)
    assert take_seat(train_config(placement=Placement.HSDP)) == Seat(rank=5, world_size=6, started=6, node_ranks=3)
