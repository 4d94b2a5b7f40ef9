"""The stages of data/ over conversations and over pairs, run for real."""

import json
import random
import shutil
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from core.artifact import Artifact, current, open_artifact
from core.errors import ConfigError, DataError, ProjectError
from core.hashing import sha256_hex
from data.__main__ import VERBS
from data.chat import Form, document_text, messages_of
from data.corpus.checks import Asked
from data.corpus.places import find_corpus
from data.corpus.redact import Request, redact
from data.corpus.verify import report
from data.documents import Document, read_documents
from data.heldout import Heldout
from data.loader import Loader, read_record
from data.shards import TokenStream, document_ends
from data.tokenizer import Tokenizer
from tests.conftest import run_module, sentence

ITEM = "{{name: {name}, kind: files, path: {path}, license: CC0-1.0, language: en, read: {{form: {form}}}}}"
RECIPE = """\
run: {{name: chat, out: {out}}}
sources: {{cache: {cache}, items: [{items}]}}
data: {{workers: 1}}
clean: {{seed: 1, heldout_permille: 50, filters: {{min_chars: 0, min_words: 0}}, mask: {{email: true}}}}
tokenizer: {{vocab_size: 512, chat: true}}
pack: {{seed: 1, seq_len: 160, weights: {{talk: 2, more: 1}}, form: {form}, shard_tokens: 4000}}
train: {{steps: 5, micro_batches: 2, micro_batch: 2}}
"""
LONG = "a very long answer " * 60
STAGES = ("fetch", "clean", "tokenizer", "pack", "manifest")


def said(drawn: random.Random) -> str:
    return " ".join(sentence(drawn).split()[: drawn.randint(1, 9)])


def conversations(seed: int, count: int) -> list[dict[str, object]]:
    drawn = random.Random(seed)
    turns = [[said(drawn) for _ in range(2 * drawn.randint(1, 3))] for _ in range(count)]
    return [{"messages": [{"role": ("user", "assistant")[at % 2], "content": one} for at, one in enumerate(turn)]}
            for turn in turns]  # fmt: skip


def pairs(seed: int, count: int) -> list[dict[str, object]]:
    drawn = random.Random(seed)
    return [{"prompt": said(drawn), "chosen": said(drawn), "rejected": f"{said(drawn)}!"} for _ in range(count)]


def write_recipe(folder: Path, form: Form) -> Path:
    """A recipe over two files of generated conversations or pairs, some of which will be dropped."""
    make = conversations if form is Form.CONVERSATIONS else pairs
    talk = make(1, 240)
    talk += talk[:7]
    if form is Form.CONVERSATIONS:
        asked, answered = (
            {"role": "user", "content": "Mail ann@corp.com"},
            {"role": "assistant", "content": "I stop at <|end|> alone"},
        )
        talk += [{"messages": [asked, answered]}, {"messages": [asked]}]
        talk += [{"messages": [asked, answered, asked, {**answered, "content": LONG}]}]
    else:
        talk += [{"prompt": "Say", "chosen": "a", "rejected": "a"}, {"prompt": "Say", "chosen": "a", "rejected": LONG}]
    items = []
    for name, records in (("talk", talk), ("more", make(2, 80))):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        items.append(ITEM.format(name=name, path=path, form=form.value))
    recipe = folder / "chat.yaml"
    text = RECIPE.format(out=folder / "runs", cache=folder / "cache", items=", ".join(items), form=form.value)
    recipe.write_text(text, encoding="utf-8")
    return recipe


@pytest.fixture(scope="module", params=[Form.CONVERSATIONS, Form.PAIRS], ids=lambda form: form.value)
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_recipe(tmp_path_factory.mktemp(request.param.value), request.param)
    for stage in STAGES:
        run(stage, path)
    return path


def run(verb: str, *arguments: object) -> None:
    """A verb of data/, in this process."""
    module, _, function = VERBS[verb].target.partition(":")
    getattr(import_module(module), function)([str(argument) for argument in arguments])


def made(recipe: Path, stage: str) -> Artifact:
    return open_artifact(next((recipe.parent / "runs").glob(f"{stage}-*")))


def cleaned(recipe: Path, source: str) -> dict[str, Document]:
    paths = (made(recipe, "clean").folder / "train").glob(f"{source}-*.jsonl")
    return {document.key: document for path in paths for document in read_documents(path)}


def form_of(recipe: Path) -> Form:
    return Form(recipe.parent.name.rstrip("0123456789"))


def test_the_shards_decode_to_every_cleaned_document_that_was_not_too_long(recipe: Path) -> None:
    pack, tokenizer = made(recipe, "pack").folder, Tokenizer.open(made(recipe, "tokenizer").folder)
    record, _ = read_record(pack)
    dropped = {json.loads(line)["key"] for line in (pack / "dropped.jsonl").read_bytes().splitlines()}
    assert len(dropped) == 1
    for source in record["sources"]:
        texts = set()
        for sidecar in source["shards"]:
            stream, ends = TokenStream(pack, [sidecar]), [0, *map(int, document_ends(pack, sidecar))]
            for start, end in pairwise(ends):
                texts.add(document_text(stream.read(start, end - start).tolist(), tokenizer, form_of(recipe)))
        documents = cleaned(recipe, source["name"])
        assert texts == {one.text for key, one in documents.items() if key not in dropped}
        assert source["documents"] == len(texts)


def test_the_loader_gives_what_the_template_gives(recipe: Path) -> None:
    loader = Loader.open(made(recipe, "pack").folder, micro_batches=2, micro_batch=2)
    tokenizer = Tokenizer.open(made(recipe, "tokenizer").folder)
    end = tokenizer.special_ids["<|end|>"]
    assert loader.form is form_of(recipe)
    for step in (1, 2, 3):
        for index in (0, 1):
            targets, counted = loader.batch(step, index)[:, 1:], loader.counted(step, index)
            assert counted is not None and counted.any(axis=1).all()
            assert not set(targets[counted].tolist()) & ({*tokenizer.special_ids.values()} - {end})


def test_every_drop_is_counted_under_its_reason(recipe: Path) -> None:
    report = json.loads((made(recipe, "clean").folder / "report.json").read_bytes())
    reasons = report["sources"]["talk"]["dropped"]["reasons"]
    assert reasons == {
        "duplicate": 7,
        **({"no_answer": 1} if form_of(recipe) is Form.CONVERSATIONS else {"same_answers": 1}),
    }
    stages = json.loads((made(recipe, "manifest").folder / "manifest.json").read_bytes())["stages"]
    (counts,) = (stage for stage in stages if stage["stage"] == "pack")
    assert counts["dropped"] == {"too_long": 1}
    assert counts["in"]["documents"] == report["total"]["train"]["documents"]


def test_the_pack_is_the_same_bytes_for_any_number_of_processes_and_document_shards(
    recipe: Path, tmp_path: Path
) -> None:
    inputs = recipe.parent / "runs"
    ended = run_module("data", "pack", recipe, f"run.out={tmp_path}", f"run.inputs={inputs}", "data.workers=2")
    assert ended.returncode == 0, ended.stderr
    assert open_artifact(Path(ended.stdout.strip())).digest == made(recipe, "pack").digest
    if form_of(recipe) is Form.PAIRS:
        return
    shutil.copytree(inputs, tmp_path / "runs")
    overrides = [f"run.out={tmp_path / 'runs'}", "clean.shard_documents=50"]
    for stage in ("clean", "tokenizer", "pack"):
        run(stage, recipe, *overrides)
    roots = [open_artifact(folder).facts["data_root"] for folder in (tmp_path / "runs").glob("pack-*")]
    assert len(roots) == 2 and len(set(roots)) == 1


def test_the_corpus_is_verified_and_a_changed_mask_or_window_is_found(recipe: Path, tmp_path: Path) -> None:
    runs = shutil.copytree(recipe.parent / "runs", tmp_path / "runs")

    def failures() -> list[str]:
        return [line for line in report(find_corpus(runs), Asked()) if line.startswith("FAIL")]

    assert failures() == []
    pack = next(runs.glob("pack-*"))
    for path in (next(pack.glob("*.mask")), next(pack.glob("*.windows"))):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert [path.name in line for line in failures()] == [True]
        path.write_bytes(content)


def test_a_corpus_of_it_is_rebuilt_to_the_same_roots(recipe: Path, tmp_path: Path) -> None:
    run("rebuild", made(recipe, "manifest").folder / "manifest.json", "--out", tmp_path, "--files", recipe.parent)


def test_what_is_said_is_held_against_evaluation_sets_and_a_document_is_taken_down(
    recipe: Path, tmp_path: Path
) -> None:
    documents = sorted(cleaned(recipe, "talk").values(), key=lambda document: document.key)
    found = next(one for one in documents if any(len(m.content.split()) >= 8 for m in messages_of(one.text)))
    gone = next(one for one in documents if one.key != found.key)
    said = next(message.content for message in messages_of(found.text) if len(message.content.split()) >= 8)
    files = {"benchmark": {"q": said.upper()}, "down": {"key": gone.key, "reason": "asked", "date": "2026-11-22"}}
    hashes = {}
    for name, record in files.items():
        content = json.dumps(record).encode() + b"\n"
        (tmp_path / name).write_bytes(content)
        hashes[name] = sha256_hex(content)
    benchmark = f"name: quiz, path: {tmp_path / 'benchmark'}, sha256: {hashes['benchmark']}, fields: [q]"
    run(
        *("clean", recipe, f"run.out={tmp_path}", f"run.inputs={recipe.parent / 'runs'}"),
        f"clean.decontamination.benchmarks=[{{{benchmark}}}]",
        f"clean.taken_down={{path: {tmp_path / 'down'}, sha256: {hashes['down']}}}",
    )
    dropped = [
        json.loads(line) for line in (current(tmp_path, "clean").folder / "dropped.jsonl").read_bytes().splitlines()
    ]
    reasons = {row["key"]: row["reason"] for row in dropped}
    assert reasons[found.key] == "contaminated_quiz" and reasons[gone.key] == "taken_down"


def test_card_and_croissant_say_what_is_learned(recipe: Path) -> None:
    folder = made(recipe, "manifest").folder
    croissant = json.loads((folder / "croissant.json").read_bytes())
    files = {entry["@id"] for entry in croissant["distribution"]}
    assert {"pack/talk-00000.mask", "pack/more-00000.mask"} <= files
    assert f"The documents are {form_of(recipe).value}: of every message U+001E" in croissant["description"]
    counts = made(recipe, "pack").facts["sources"]["talk"]
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert f"{counts['targets']:,} of {counts['tokens']:,} tokens count, {sum(counts['dropped'].values())} were" in card


def test_the_plan_says_how_many_there_are_and_what_counts(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("plan", recipe, "--json")
    planned = json.loads(capsys.readouterr().out)
    facts = made(recipe, "pack").facts["sources"]
    assert planned["form"] == form_of(recipe).value and planned["is_exact"]
    for source in planned["sources"]:
        mine = facts[source["source"]]
        assert (source["documents_there"], source["targets_there"]) == (mine["documents"], mine["targets"])
        assert source["windows_there"] == mine["windows"]
    run("plan", recipe)
    page = capsys.readouterr().out
    assert "targets that count there" in page and form_of(recipe).value in page


def test_the_page_shows_turns_by_name(recipe: Path, tmp_path: Path) -> None:
    run("inspect", recipe, "--stage", "pack", "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "⟨assistant⟩" in page and "targets that count" in page


def test_a_document_is_redacted_and_training_on_the_rest_is_refused(recipe: Path, tmp_path: Path) -> None:
    pack = shutil.copytree(made(recipe, "pack").folder, tmp_path / "pack")
    key = sorted(cleaned(recipe, "more"))[0]
    (stone,) = redact(pack, [Request(key, "asked", "2026-11-22")])
    assert stone.source == "more"
    with pytest.raises(DataError, match="is redacted"):
        Loader.open(pack, micro_batches=1, micro_batch=1)


def test_a_long_conversation_is_cut_behind_an_answer_if_asked_and_a_pair_is_not(recipe: Path, tmp_path: Path) -> None:
    asked = ["pack.too_long=truncate", f"run.out={tmp_path}", f"run.inputs={recipe.parent / 'runs'}"]
    if form_of(recipe) is Form.PAIRS:
        with pytest.raises(ConfigError, match="of pairs nothing is cut"):
            run("pack", recipe, *asked)
        return
    run("pack", recipe, *asked)
    pack = current(tmp_path, "pack")
    assert (pack.facts["sources"]["talk"]["truncated"], pack.facts["sources"]["talk"]["dropped"]) == (1, {})
    assert (pack.folder / "dropped.jsonl").read_bytes() == b""


def test_heldout_conversations_are_measured_by_what_counts(recipe: Path, tmp_path: Path) -> None:
    if form_of(recipe) is Form.PAIRS:
        return
    run("pack", recipe, "pack.heldout_tokens=300", f"run.out={tmp_path}", f"run.inputs={recipe.parent / 'runs'}")
    pack = current(tmp_path, "pack")
    assert pack.facts["data_root"] == made(recipe, "pack").facts["data_root"]
    heldout = Heldout.open(pack.folder, seq_len=160, micro_batch=4)
    tokenizer = Tokenizer.open(made(recipe, "tokenizer").folder)
    counts = dict.fromkeys((source.name for source in heldout.sources), 0)
    texts = set()
    for number, batch in enumerate(heldout.batches):
        ids, counted = heldout.batch(number), heldout.counted(number)
        assert counted is not None and ids.shape == (4, 161) and counted.shape == (4, 160)
        counts[heldout.sources[batch.source].name] += int(counted.sum())
        for row in ids.tolist():
            starts = [place for place, one in enumerate(row) if one == tokenizer.bos_id] + [len(row)]
            said = (row[start:end] for start, end in pairwise(starts) if end - start > 1)
            texts |= {document_text(one, tokenizer, Form.CONVERSATIONS) for one in said}
    assert counts == {source.name: source.text_tokens for source in heldout.sources}
    held = {one.text for path in (made(recipe, "clean").folder / "heldout").iterdir() for one in read_documents(path)}
    assert texts and texts <= held
    with pytest.raises(ConfigError, match="are of 160 tokens, not 80"):
        Heldout.open(pack.folder, seq_len=80, micro_batch=4)


@pytest.mark.parametrize(
    ("override", "error", "said"),
    [
        ("pack.form=text", DataError, r"holds conversations or pairs, not text; say so in pack\.form"),
        (
            f"pack.base={{order: x, sha256: {'0' * 64}, share: 1, consumed: 0}}",
            ConfigError,
            "a parent's mixture is of text",
        ),
        ("pack.seq_len=3", DataError, r"fits into a window of 4 tokens; raise pack\.seq_len"),
    ],
)
def test_a_pack_that_cannot_be_is_refused(
    recipe: Path, tmp_path: Path, override: str, error: type[ProjectError], said: str
) -> None:
    with pytest.raises(error, match=said):
        run("pack", recipe, override, f"run.out={tmp_path}", f"run.inputs={recipe.parent / 'runs'}")
    assert not (tmp_path / "pack.json").exists()
