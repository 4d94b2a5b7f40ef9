import io
import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.artifact import point
from core.errors import ConfigError, DataError
from data.loader import Loader
from data.order import StepShape
from data.plan import main
from tests.conftest import run_module, write_recipe
from tests.data.packs import write_clean
from tests.data.test_pack import texts

TEXTS = {"alpha": texts(1, 300), "beta": texts(2, 200)}
PHASES: list[dict[str, Any]] = [
    {"name": "stable", "weights": {"alpha": 3, "beta": 1}},
    {"name": "anneal", "start": 750, "unit": "permille", "weights": {"beta": 1}},
]


def with_pack(recipe: Path, **given: Any) -> Path:
    """The recipe with another section pack."""
    settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    settings["pack"] = {"seed": 1, "seq_len": 32, **given}
    path = recipe.with_name(f"with-{'-'.join(given)}.yaml")
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with phases, whose stages up to pack have been run."""
    folder = tmp_path_factory.mktemp("plan")
    recipe = with_pack(write_recipe(folder), phases=PHASES, max_epochs={"beta": 3})
    write_report(folder / "runs")
    for verb in ("tokenizer", "pack"):
        ended = run_module("data", verb, recipe)
        assert ended.returncode == 0, ended.stderr
    return recipe


def write_report(runs: Path) -> None:
    """A clean artifact of TEXTS with the part of report.json that a plan reads."""
    sources = {
        name: {"train": {"documents": len(given), "bytes": sum(len(text.encode()) for text in given)}}
        for name, given in TEXTS.items()
    }
    write_clean(runs, TEXTS, heldout={name: given[:20] for name, given in TEXTS.items()}, report={"sources": sources})


def plan(recipe: Path, *overrides: str) -> dict[str, Any]:
    """What the verb says to machines."""
    said = io.StringIO()
    with redirect_stdout(said):
        main([str(recipe), "--json", *overrides])
    planned: dict[str, Any] = json.loads(said.getvalue())
    return planned


def test_an_exact_plan_is_what_the_order_then_draws(packed: Path) -> None:
    planned = plan(packed)
    assert planned["is_exact"]
    assert planned["run"]["windows"] == 12 * 8 * 2 == 192
    loader = Loader.open(next((packed.parent / "runs").glob("pack-*")), micro_batches=8, micro_batch=2)
    one = StepShape(micro_batches=1, micro_batch=1)
    seen = [loader.order.names[loader.order.sample(at + 1, 0, 0, one).source] for at in range(192)]
    for phase, (start, end) in zip(planned["phases"], ((0, 144), (144, 192)), strict=True):
        assert phase["start_sample"] == start
        assert phase["tokens"] == (end - start) * 32
        for source in phase["sources"]:
            assert source["windows"] == seen[start:end].count(source["source"])
            assert source["tokens"] == 32 * source["windows"]
    assert [[one["source"] for one in phase["sources"]] for phase in planned["phases"]] == [["alpha", "beta"], ["beta"]]
    for number, source in enumerate(planned["sources"]):
        assert source["windows"] == seen.count(source["source"])
        assert source["windows_there"] == loader.order.windows[number]
        assert source["epochs"] == source["windows"] / source["windows_there"]
        assert source["max_epochs"] == {"alpha": 0, "beta": 3}[source["source"]]


def test_an_estimate_from_cleaned_text_is_near_the_truth_and_says_what_it_is(packed: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    for path in (packed.parent / "runs").iterdir():
        if path.name.startswith(("clean", "tokenizer")):
            shutil.copytree(path, runs / path.name) if path.is_dir() else shutil.copy(path, runs)
    exact, estimated = plan(packed), plan(packed, f"run.out={runs}")
    assert not estimated["is_exact"]
    for source, truth in zip(estimated["sources"], exact["sources"], strict=True):
        assert (source["basis"], truth["basis"]) == ("clean", "pack")
        assert source["tokens_there"] == pytest.approx(truth["tokens_there"], rel=0.1)  # measured on 20 documents
    (runs / "tokenizer.json").unlink()
    rough = plan(packed, f"run.out={runs}")["sources"]
    assert rough[0]["tokens_there"] != estimated["sources"][0]["tokens_there"]


def test_a_pack_of_other_documents_is_no_ground_for_a_plan(packed: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(packed.parent / "runs", runs)
    assert plan(packed, f"run.out={runs}")["is_exact"]
    other = write_clean(runs, {**TEXTS, "alpha": TEXTS["alpha"][:250]}, heldout={}, shards=2)
    point(runs, other)
    with pytest.raises(DataError, match=r"report\.json"):  # this clean artifact has no report either
        plan(packed, f"run.out={runs}")


def test_with_nothing_made_the_files_at_hand_are_a_guess_and_a_remote_source_says_what_to_run(
    packed: Path, tmp_path: Path
) -> None:
    planned = plan(packed, f"run.out={tmp_path}")
    sizes = {"alpha": "alpha.jsonl", "beta": "beta.txt"}
    for source in planned["sources"]:
        size = (packed.parent / "corpus" / sizes[source["source"]]).stat().st_size
        assert (source["basis"], source["tokens_there"]) == ("files", round(size / 3.5))
    with pytest.raises(DataError, match="source shakespeare has; run python -m data fetch first"):
        main(["smoke", f"run.out={tmp_path}"])


def test_the_table_shows_phases_sources_and_totals(packed: Path) -> None:
    ended = run_module("data", "plan", packed)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "12 steps of 8 x 2 windows of 32 tokens: 192 windows, 6,144 tokens"
    assert [line.split() for line in lines[3:8]] == [
        ["stable", "0", "alpha", "3", "75.0%", "108", "3,456", lines[3].split()[-1]],
        ["beta", "1", "25.0%", "36", "1,152", lines[4].split()[-1]],
        ["together", "144", "4,608"],
        ["anneal", "144", "beta", "1", "100.0%", "48", "1,536", lines[6].split()[-1]],
        ["together", "48", "1,536"],
    ]
    assert [line.split()[0] for line in lines[10:]] == ["alpha", "beta"]
    assert all("exact, packed" in line for line in lines[10:])


@pytest.mark.parametrize(
    ("given", "overrides", "words"),
    [
        ({"weights": {"alpha": 1, "nobody": 1}}, [], r"pack\.weights has nobody, which is no source"),
        ({"weights": {"alpha": 1}, "seq_len": 10**6}, [], "source alpha has a weight but only"),
        ({"phases": PHASES, "max_epochs": {"beta": 3}}, ["train.steps=4000"], "source beta would be gone through"),
        (
            {"phases": [PHASES[0], {**PHASES[1], "unit": "samples"}]},
            [],
            r"anneal .* sample 750, but the run ends after 192",
        ),
        ({"weights": {"alpha": 99_999, "beta": 100_000}}, [], "more than 100000; give coarser"),
    ],
)
def test_the_impossible_is_refused_in_one_line(
    packed: Path, given: dict[str, Any], overrides: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        main([str(with_pack(packed, **given)), *overrides])
    assert "\n" not in str(refused.value)


def test_a_refusal_is_exit_code_64_and_nothing_on_standard_output(packed: Path) -> None:
    ended = run_module("data", "plan", packed, "--json", "train.steps=4000")
    assert (ended.returncode, ended.stdout) == (64, "")
    assert len(ended.stderr.splitlines()) == 1


def test_a_guess_refuses_only_what_is_far_beyond_a_limit(packed: Path, tmp_path: Path) -> None:
    here = f"run.out={tmp_path}"
    source = plan(packed, here, "train.steps=4000")["sources"][1]
    assert source["max_epochs"] < source["epochs"] < 20 * source["max_epochs"]
    with pytest.raises(ConfigError, match=r"beta would be gone through .* a guess from the files it names"):
        main([str(packed), here, "train.steps=40000"])


def test_pack_refuses_more_epochs_than_are_allowed_before_it_publishes(packed: Path, tmp_path: Path) -> None:
    given = [f"run.out={tmp_path}", f"run.inputs={packed.parent / 'runs'}", "train.steps=4000"]
    ended = run_module("data", "pack", packed, *given)
    assert ended.returncode == 64
    assert "source beta would be gone through" in ended.stderr
    assert not (tmp_path / "pack.json").exists()


def test_training_refuses_what_the_pack_does_not_allow(packed: Path, tmp_path: Path) -> None:
    given = [f"run.out={tmp_path}", f"run.inputs={packed.parent / 'runs'}", "train.steps=4000"]
    ended = run_module("train", "run", packed, *given)
    assert ended.returncode == 64
    assert "source beta would be gone through" in ended.stderr
    assert "Traceback" not in ended.stderr
