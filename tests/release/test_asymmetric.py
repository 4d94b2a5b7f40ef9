"""The asymmetric audit: trained on four ranks that share everything out, one of them killed, audited on one process."""

from pathlib import Path

import pytest

from core.artifact import current
from release.contents import open_bundle
from tests.conftest import write_recipe
from tests.release.conftest import run_in
from tests.release.forgery import edit_ledger, make_consistent


@pytest.mark.slow
def test_a_run_of_four_sharded_ranks_with_a_kill_is_audited_on_one_process_and_on_three(
    checkout: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path)
    drill = ["launch.ranks=4", "train.placement=fsdp2", "launch.kill_rank=2", "launch.kill_at_step=6"]
    done = run_in(checkout, "launch", "run", recipe, *drill, timeout_s=1200)
    assert done.returncode == 0, done.stderr
    assert "rank 2 killed by SIGKILL at step 6" in done.stdout
    artifact = current(tmp_path / "runs", "bundle")
    bundle = open_bundle(artifact.folder / str(artifact.facts["bundle"]))
    told = run_in(
        checkout, "release", "verify", bundle.folder, "--nonce", "a beacon", "--segments", "3", timeout_s=1200
    )
    assert told.returncode == 0, told.stdout + told.stderr
    audit = next(line for line in told.stdout.splitlines() if line.startswith("audit"))
    assert "steps 1 to 4, 5 to 8, 9 to 12 replayed on 1 process, every line equal" in audit
    assert "4 ranks trained" in audit
    three = run_in(checkout, "release", "verify", bundle.folder, "--ranks", "3", timeout_s=1200)
    assert "replayed on 3 processes, every line equal" in three.stdout, three.stdout + three.stderr
    # The control: a number that was never computed.
    edit_ledger(bundle.folder, step=7, norm="0x1.0p+1")
    make_consistent(bundle.folder)
    forged = run_in(checkout, "release", "verify", bundle.folder, timeout_s=1200)
    assert forged.returncode == 66
    assert "differs first in step 7, field norm" in forged.stdout
