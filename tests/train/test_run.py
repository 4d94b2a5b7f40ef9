"""The verbs as a user starts them: alone, under torchrun, again, with damaged data; and what the journal tells."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.artifact import current, open_artifact, verify_files
from core.codetree import ROOT
from tests.conftest import run_module
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of
from train.run import main

Alone = tuple[Path, "subprocess.CompletedProcess[str]"]

SHORT = ("train.steps=3", "train.warmup_steps=1", "train.save_every_steps=2")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def alone(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """A run of one process without torchrun."""
    out = tmp_path_factory.mktemp("alone")
    return out, run_module("train", "run", *tiny.arguments(out, *SHORT))


def test_one_process_needs_no_torchrun(alone: Alone) -> None:
    out, ended = alone
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == str(finished_folder(out))
    assert "train 3/3 steps" in ended.stderr


def test_under_torchrun_the_result_is_the_same(alone: Alone, tiny: Tiny, tmp_path: Path) -> None:
    ended = run_module(*TORCHRUN, "-m", "train", "run", *tiny.arguments(tmp_path, *SHORT))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [str(finished_folder(tmp_path))]
    assert result_of(tmp_path) == result_of(alone[0])


GROUP = """
import os
from pathlib import Path
from train.runtime import open_world
from train.starter import Seat

def names():
    return sorted({path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")})

with open_world(Seat(rank=0, world_size=1, started=1, node_ranks=1), device="cpu", timeout_s=60.0, is_grouped=True):
    import train.loop
    print(*names())
print(*names())
"""


def test_no_thread_of_a_group_outlives_it(tmp_path: Path) -> None:
    # One that does may let go of a tensor while Python ends, which aborts a rank that has done everything.
    ended = subprocess.run([sys.executable, "-c", GROUP], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    inside, behind = ended.stdout.splitlines()
    assert "pt_gloo_runloop" in inside and "gloo" not in behind


def test_a_finished_run_is_found_by_all_ranks(alone: Alone, tiny: Tiny, tmp_path: Path) -> None:
    out, _ = alone
    before = (out / "train.json").stat().st_mtime_ns
    ended = run_ranks(2, main, [tiny.arguments(out, *SHORT)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0]
    assert "is finished already" in (tmp_path / "notes" / "rank0.log").read_text()
    assert (out / "train.json").stat().st_mtime_ns == before


def test_the_artifact_holds_what_the_contract_names(alone: Alone) -> None:
    artifact = open_artifact(finished_folder(alone[0]))
    verify_files(artifact)
    names = {entry["path"] for entry in artifact.record["files"]}
    files = ("manifest.json", "model.safetensors", "optimizer.safetensors", "state.json")
    steps = ("step-000002", "step-000003")
    assert names == {"config.json", "ledger.jsonl"} | {f"checkpoints/{step}/{name}" for step in steps for name in files}
    assert artifact.facts["steps"] == 3
    assert artifact.facts["final"] == "checkpoints/step-000003"
    assert json.loads((artifact.folder / "config.json").read_bytes()) == artifact.record["config"]


def test_the_journal_tells_who_ran_and_how_fast(alone: Alone) -> None:
    folder = finished_folder(alone[0])
    (started,) = events(folder, "run.started")
    assert (started["world_size"], started["placement"], started["generation"]) == (1, "zero1", 1)
    assert [event["step"] for event in events(folder, "checkpoint.saved")] == [2, 3]
    for event in events(folder, "step.finished"):
        assert event["seconds"] >= event["step_seconds"] >= event["compute_seconds"] > 0
        assert event["tokens_per_s"] > 0
    assert [event["step"] for event in events(folder, "run.finished")] == [3]


def test_checkpoints_that_are_not_kept_go(tiny: Tiny, tmp_path: Path) -> None:
    overrides = ("train.steps=7", "train.save_every_steps=1", "train.keep_every_steps=3", "train.warmup_steps=1")
    ended = run_ranks(1, main, [tiny.arguments(tmp_path, *overrides)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    kept = sorted(path.name for path in (finished_folder(tmp_path) / "checkpoints").iterdir())
    assert kept == ["step-000003", "step-000006", "step-000007"]


def test_a_flipped_bit_in_a_token_shard_stops_with_exit_66(tiny: Tiny, tmp_path: Path) -> None:
    pack = current(tiny.inputs, "pack").folder
    shutil.copytree(pack, tmp_path / pack.name)
    shutil.copy(tiny.inputs / "pack.json", tmp_path / "pack.json")
    shard = next((tmp_path / pack.name).glob("*.bin"))
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    damaged = Tiny(tiny.recipe, tmp_path)
    ended = run_ranks(2, main, [damaged.arguments(tmp_path / "out", *SHORT)], notes=tmp_path / "notes")
    assert 66 in ended.exit_codes
    assert any(shard.name in message for message in ended.messages.values())


def test_a_learning_rate_that_blows_up_is_not_retried(tiny: Tiny, tmp_path: Path) -> None:
    overrides = ("train.lr=1e30", "train.clip_norm=1e30", "train.warmup_steps=1")
    ended = run_ranks(2, main, [tiny.arguments(tmp_path, *overrides)], notes=tmp_path / "notes")
    assert ended.exit_codes == [65, 65]
    assert ended.messages[0].startswith("step ")


def test_weights_and_biases_is_a_view_beside_the_journal(tiny: Tiny, tmp_path: Path) -> None:
    ended = run_ranks(1, main, [tiny.arguments(tmp_path, "train.wandb=offline", *SHORT)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    folder = finished_folder(tmp_path)
    assert list((folder / "witness").glob("wandb/offline-run-*/*.wandb"))
    verify_files(open_artifact(folder))


def test_check_and_fingerprint_do_without_torch(tiny: Tiny) -> None:
    script = (
        "import sys; from train.check import main, fingerprint_main as f;"
        f"main([{str(tiny.recipe)!r}]); f([{str(tiny.recipe)!r}]); sys.exit('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["asked"]["name"] == "portable"


def test_check_names_what_is_wrong(tiny: Tiny) -> None:
    ended = run_module("train", "check", tiny.recipe, "train.stepz=3")
    assert ended.returncode == 64
    assert "stepz" in ended.stderr
    assert ended.stdout == ""
