import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.artifact import current
from core.codetree import ROOT
from core.errors import ConfigError
from core.hashing import canonical_json
from data.clean import main as clean_main
from data.sources.fetch import main as fetch_main
from data.sources.hubclient import SAVE_ROWS
from tests.conftest import run_module
from tests.data.hub import Hub, serving

CORPUS = "owner/corpus"
CARD = b"""\
---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - {split: train, path: "data/*.jsonl"}
- config_name: short
  data_files:
  - {split: train, path: "data/0.jsonl"}
---
Free.
"""
TEXTS = [f"Row {number} of a dataset on a hub, caf\u00e9 {number * number}." for number in range(3 * (SAVE_ROWS - 500))]
LINES = [canonical_json({"body": text}) + b"\n" for text in TEXTS]
SHA256 = hashlib.sha256(b"".join(LINES)).hexdigest()
TABLE = [f"Row {number} of a table, which is another file." for number in range(3)]
TABLE_LINES = b"".join(canonical_json({"body": text}) + b"\n" for text in TABLE)
# Tries many recipes in one process, because importing `datasets` costs seconds: each recipe's error as a line.
MANY = """\
import json, sys
from core.errors import ProjectError
from data.sources.fetch import main
for recipe in sys.argv[1:]:
    try:
        main([recipe])
    except ProjectError as error:
        print(json.dumps([error.exit_code, str(error)]))
"""


def rows(texts: list[str]) -> bytes:
    """A file of the dataset: JSON lines as somebody else would write them."""
    return "".join(json.dumps({"id": number, "body": text}) + "\n" for number, text in enumerate(texts)).encode()


def table(values: list[object]) -> bytes:
    """A Parquet file of the dataset."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"body": values}), buffer)
    return buffer.getvalue()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a dataset of three files; a state is saved in the middle of the second."""
    with serving() as found:
        size = len(TEXTS) // 3
        files = {f"data/{number}.jsonl": rows(TEXTS[number * size : (number + 1) * size]) for number in range(3)}
        found.datasets[CORPUS] = {"README.md": CARD, "table.parquet": table([*TABLE, None]), **files}
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        # What inference.huggingface may have set in this process.
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield found


def source(
    hub: Hub, *, package: str = CORPUS, version: str = "", split: str = "train", sha256: str = SHA256, more: str = ""
) -> str:
    return (
        f"{{name: rows, kind: huggingface, package: {package}, version: '{version or hub.revision}', sha256: {sha256}, "
        f"license: CC0-1.0, language: en, read: {{text_field: body}}, hub: {{split: {split}, {more}}}}}"
    )


def write_recipe(folder: Path, *items: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "hub.yaml"
    listed = "".join(f"    - {item}\n" for item in items)
    path.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  cache: {folder / "cache"}
  attempts: 2
  retry_wait_s: 0.01
  items:
{listed}
data: {{}}
clean: {{seed: 1, heldout_permille: 0, filters: {{min_chars: 0, min_words: 0}}}}
""",
        encoding="utf-8",
    )
    return path


def test_rows_are_pinned_and_then_fetched_without_a_hub(hub: Hub, tmp_path: Path) -> None:
    wanted = source(hub, sha256="''")[:-1] + ", urls: [{url: README.md}]}"
    some = source(hub, sha256="''", more="data_files: [table.parquet], rows: 3").replace("name: rows", "name: some")
    recipe = write_recipe(tmp_path, wanted, some)
    with pytest.raises(ConfigError, match=r"lacks sha256, urls\.0\.sha256; .*python -m data pin"):
        fetch_main([str(recipe)])
    finished = run_module("data", "pin", recipe)
    assert finished.returncode == 0, finished.stderr
    pins = finished.stdout.split()
    assert pins == [
        f"sources.items.0.sha256={SHA256}",
        f"sources.items.0.urls.0.sha256={hashlib.sha256(CARD).hexdigest()}",
        f"sources.items.1.sha256={hashlib.sha256(TABLE_LINES).hexdigest()}",
    ]
    asked = hub.asked.total()
    fetch_main([str(recipe), *pins])
    fetched = current(tmp_path / "runs", "fetch")
    assert (fetched.folder / "archives/rows/owner--corpus-train.jsonl").read_bytes() == b"".join(LINES)
    assert (fetched.folder / "archives/some/owner--corpus-train.jsonl").read_bytes() == TABLE_LINES
    assert (fetched.folder / "evidence/rows/README.md").read_bytes() == CARD
    clean_main([str(recipe)])
    report = json.loads((current(tmp_path / "runs", "clean").folder / "report.json").read_bytes())
    assert report["sources"]["rows"]["train"]["documents"] == len(TEXTS)
    assert hub.asked.total() == asked


def test_rows_of_conversations_keep_the_columns_of_a_conversation_alone(hub: Hub, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    lines = "".join(json.dumps({"id": number, "messages": talk}) + "\n" for number in range(3)).encode()
    hub.datasets["owner/talk"] = {"data.jsonl": lines}
    item = source(hub, package="owner/talk", sha256="''").replace("{text_field: body}", "{form: conversations}")
    finished = run_module("data", "pin", write_recipe(tmp_path, item))
    assert finished.returncode == 0, finished.stderr
    wanted = hashlib.sha256((canonical_json({"messages": talk}) + b"\n") * 3).hexdigest()
    assert finished.stdout.split() == [f"sources.items.0.sha256={wanted}"]


def test_a_killed_fetch_goes_on_where_it_was_through_faults_and_ends_in_the_same_rows(hub: Hub, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, source(hub))
    last = hub.path(CORPUS, "data/2.jsonl")
    hub.faults[last] = ["stall"]
    process = subprocess.Popen(
        [sys.executable, "-m", "data", "fetch", str(recipe)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    assert hub.has_stalled.wait(timeout=120)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = tmp_path / "cache" / f".{SHA256}-owner--corpus-train.jsonl.part"
    assert b"".join(LINES).startswith(left.read_bytes()) and left.stat().st_size >= len(b"".join(LINES[:SAVE_ROWS]))
    state = json.loads(left.with_suffix(".state").read_bytes())
    assert state["rows"] >= SAVE_ROWS
    hub.may_go_on.set()
    hub.faults = {last: [503, "drop", "drop"]}
    hub.ranges.clear()
    finished = run_module("data", "fetch", recipe)
    assert finished.returncode == 0, finished.stderr
    fetched = current(tmp_path / "runs", "fetch").folder
    assert (fetched / "archives/rows/owner--corpus-train.jsonl").read_bytes() == b"".join(LINES)
    assert hub.faults[last] == []
    # Once in each of two attempts, to see which columns there are: its rows are there already.
    assert [name for name, _ in hub.ranges].count("data/0.jsonl") == 2
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [f"{SHA256}-owner--corpus-train.jsonl"]


def test_what_is_not_there_not_allowed_or_not_the_same_is_one_clear_line(hub: Hub, tmp_path: Path) -> None:
    hub.datasets["owner/gated"] = dict(hub.datasets[CORPUS])
    hub.gated.add("owner/gated")
    hub.datasets["owner/down"] = dict(hub.datasets[CORPUS])
    hub.faults["/api/datasets/owner/down"] = [500] * 9
    hub.datasets["owner/odd"] = {"odd.parquet": table([[1], [2]])}
    hub.datasets["owner/bad"] = {"bad.parquet": b"PAR1 but nothing else PAR1"}
    evidence = ", urls: [{url: COPYING, sha256: " + "1" * 64 + "}]}"
    expected = {
        source(hub, sha256="1" * 64): (66, f"has SHA-256 {SHA256}, the recipe wants 1111"),
        source(hub, version="2" * 40): (66, "is gone: the repository has no such revision"),
        source(hub, package="owner/none"): (66, "is gone: the hub has no such dataset, or not for you"),
        source(hub, package="owner/gated"): (66, "is gated (HTTP status 403): accept its terms at the hub"),
        source(hub, package="owner/down"): (75, "from the hub in 2 attempts, last: HTTP status 500; try again later"),
        source(hub, split="test"): (66, "Bad split: test. Available splits: ['train']"),
        source(hub, more="config: none"): (66, "BuilderConfig 'none' not found. Available: ['default', 'short']"),
        source(hub, more="data_files: [none.jsonl]"): (66, "none.jsonl"),
        source(hub).replace("body", "words"): (66, "words"),
        source(hub, package="owner/odd"): (66, "has list in column body, not text; set read.text_field"),
        source(hub, package="owner/bad"): (66, "cannot be read: "),
        source(hub, more="config: short"): (
            66,
            f"has SHA-256 {hashlib.sha256(b''.join(LINES[: len(LINES) // 3])).hexdigest()}",
        ),
        source(hub, sha256=SHA256)[:-1] + evidence: (66, "is gone: the revision has no such file"),
    }
    recipes = [write_recipe(tmp_path / str(number), item) for number, item in enumerate(expected)]
    command = [sys.executable, "-c", MANY, *map(str, recipes)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    found = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("[")]
    assert len(found) == len(expected), finished.stdout
    for (code, message), (wanted_code, wanted_message) in zip(found, expected.values(), strict=True):
        assert message.startswith("source rows: ") and "\n" not in message
        assert code == wanted_code and wanted_message in message
        assert "127.0.0.1" not in message
    for recipe in recipes:
        assert not list((recipe.parent / "runs").glob("fetch*"))
        assert not [path for path in (recipe.parent / "cache").iterdir() if path.suffix != ".jsonl"]


def test_no_network_is_one_clear_line_and_exit_75(hub: Hub, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, source(hub))
    finished = run_module("data", "fetch", recipe, env={"HF_ENDPOINT": "http://127.0.0.1:1"})
    assert (finished.returncode, finished.stderr.count("\n")) == (75, 1), finished.stderr
    assert "could not be fetched from the hub in 2 attempts, last: ConnectError; try again later" in finished.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("'1111111111", "'main"), "is no commit; give all 40 hex digits"),
        (("owner/corpus", "a/b/c"), "write owner/name"),
        (("split: train", "split: 'train[:10]'"), "for its beginning give hub.rows"),
        (("split: train", "rows: 1"), r"lacks hub\.split"),
        (("split: train", "split: train, rows: -1"), "give 0 for all rows"),
        (("text_field: body", "format: csv"), "is rows of a table, not csv"),
        (("language: en", "language: en, evidence: [README.md]"), "name evidence's file in urls"),
        (("language: en", "language: en, urls: [{url: ../secret}]"), "is no file of the repository"),
    ],
)
def test_a_mistake_in_a_source_is_one_clear_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fetch_main([str(write_recipe(tmp_path, source(Hub()).replace(*change)))])
