"""Runs of other seeds against a bundle: ten honest runs and five with half the learning rate, all on one data order."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_value
from core.ledger import full_head
from release.contents import Bundle
from release.seeds import compare, tost
from release.verdict import Verdict
from tests.conftest import run_module
from tests.release.forgery import edit_json, flip_bit
from tests.train.runs import finished_folder

# One process for all runs: importing torch takes longer than any of them.
TRAIN = """
import sys
from train.run import main
out, recipe, inputs = sys.argv[1:4]
for name in sys.argv[4:]:
    lr, seed = name.split("-")
    main([recipe, f"run.out={out}/{name}", f"run.inputs={inputs}", f"train.lr={lr}", f"train.seed={seed}"])
"""
THEIRS = [f"0.01-{seed}" for seed in range(2, 6)]
OURS = [f"0.01-{seed}" for seed in range(6, 11)]
SLOWER = [f"0.005-{seed}" for seed in range(6, 11)]


@pytest.fixture(scope="module")
def seeds(checkout: Path, recipe: Path, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished runs, one folder a learning rate and seed. Read only."""
    out = tmp_path_factory.mktemp("seeds")
    command = [sys.executable, "-c", TRAIN, str(out), str(recipe), str(runs), *THEIRS, *OURS, *SLOWER]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def paths(seeds: Path, names: list[str]) -> list[Path]:
    return [seeds / name for name in names]


def claim_the_bundles_rate(folder: Path) -> Path:
    """A liar's run: what its ledger begins with, and its configuration, say the rate that the bundle had."""
    config = json.loads((folder / "config.json").read_bytes())
    config["train"]["lr"] = 0.01
    (folder / "config.json").write_bytes(canonical_json(config))
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_bytes().splitlines()]
    lines[0]["config"] = hash_value({name: config[name] for name in ("model", "train")})
    for before, line in pairwise(lines):
        line["prev"] = full_head([before])
    (folder / "ledger.jsonl").write_bytes(b"".join(canonical_json(line) + b"\n" for line in lines))
    return folder


def test_honest_runs_of_other_seeds_are_equivalent_and_that_is_no_pass(bundle: Bundle, seeds: Path) -> None:
    arguments = ["--theirs", *paths(seeds, THEIRS), "--ours", *paths(seeds, OURS)]
    done = run_module("release", "compare-seeds", bundle.folder, *arguments)
    assert done.returncode == 3, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("integrity    PASS")
    assert second.startswith("seeds        EQUIVALENT   mean loss of the last 4 steps, 5 seeds of ours, 5 of theirs")
    assert "margin 0.1 of the bundle" in second
    assert "weaker than PASS" in second


def test_runs_with_half_the_learning_rate_are_not_equivalent_whatever_they_say(
    bundle: Bundle, seeds: Path, tmp_path: Path
) -> None:
    lying = [
        claim_the_bundles_rate(Path(shutil.copytree(finished_folder(seeds / name), tmp_path / name))) for name in SLOWER
    ]
    finding = compare(bundle, theirs=paths(seeds, THEIRS), ours=lying)
    assert finding.verdict is Verdict.DIFFERENT


def test_a_run_of_another_recipe_is_refused_by_the_field_that_differs(bundle: Bundle, seeds: Path) -> None:
    with pytest.raises(ConfigError, match=r"of another recipe than the bundle: train\.lr: 0\.01 against 0\.005"):
        compare(bundle, theirs=paths(seeds, THEIRS), ours=paths(seeds, SLOWER))


def test_a_configuration_that_the_ledger_does_not_begin_with_is_refused(
    bundle: Bundle, seeds: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(finished_folder(seeds / SLOWER[0]), tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_bytes())
    edit_json(copy / "config.json", train={**config["train"], "lr": 0.01})
    with pytest.raises(DataError, match=r"config\.json is not what the run's ledger begins with"):
        compare(bundle, theirs=[], ours=[copy])


def test_four_seeds_are_too_few(bundle: Bundle, seeds: Path) -> None:
    finding = compare(bundle, theirs=paths(seeds, THEIRS), ours=paths(seeds, OURS[:4]))
    assert finding.verdict is Verdict.TOO_FEW
    assert "5 of theirs and 4 of ours; each side needs 5 seeds" in finding.detail


def test_the_same_seed_twice_is_one_run(bundle: Bundle, seeds: Path) -> None:
    with pytest.raises(ConfigError, match="--ours has seed 6 twice"):
        compare(bundle, theirs=paths(seeds, THEIRS), ours=paths(seeds, [*OURS, OURS[0]]))


def test_a_bundle_that_states_no_margin_cannot_be_compared_with(bundle: Bundle, seeds: Path) -> None:
    edit_json(bundle.folder / "bundle.json", equivalence={"margin": 0.0, "last_steps": 1})
    assert compare(bundle, theirs=[], ours=paths(seeds, OURS)).verdict is Verdict.UNSUPPORTED


def test_a_bundle_whose_margin_was_changed_afterwards_fails(bundle: Bundle, seeds: Path) -> None:
    flip_bit(bundle.folder / "bundle.json")
    done = run_module("release", "compare-seeds", bundle.folder, "--ours", *paths(seeds, OURS))
    assert done.returncode == 66
    assert "bundle.json is not what the manifest says" in done.stdout


def test_the_two_tests_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is what the values are held against")
    ours, theirs, margin = [5.1, 5.15, 5.09, 5.2, 5.12], [5.0, 5.05, 5.11, 5.02, 5.08, 5.06], 0.2
    tested = tost(ours, theirs, margin=margin)
    above = [value + margin for value in ours]
    below = [value - margin for value in ours]
    options = {"equal_var": False}
    assert tested.p_below == pytest.approx(stats.ttest_ind(above, theirs, alternative="greater", **options).pvalue)
    assert tested.p_above == pytest.approx(stats.ttest_ind(below, theirs, alternative="less", **options).pvalue)
    assert tested.is_equivalent
    assert not tost(ours, theirs, margin=0.05).is_equivalent


def test_runs_without_any_spread_are_equivalent_only_inside_the_margin() -> None:
    assert tost([1.0] * 5, [1.05] * 5, margin=0.1).is_equivalent
    assert not tost([1.0] * 5, [1.1] * 5, margin=0.1).is_equivalent
    assert not tost([1.2] * 5, [1.0] * 5, margin=0.1).is_equivalent
