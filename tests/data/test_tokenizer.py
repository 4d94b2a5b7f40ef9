import dataclasses
import io
import json
import random
import re
import shutil
from pathlib import Path

import pytest
import sentencepiece

from core.artifact import Artifact, open_artifact
from core.errors import ConfigError, DataError, DeterministicError
from core.hashing import hash_file
from data.documents import write_documents
from data.tokenizer import (
    RESERVED_MARK,
    SETTINGS,
    SPACE_MARK,
    Tokenizer,
    TokenizerConfig,
    canonical,
    measure,
    split_sentences,
    take_over,
    train,
    training_files,
)
from tests.conftest import run_module, sentence, write_recipe
from tests.data.packs import documents_of, write_clean

HARD = [
    "<s> </s> <unk> <0x0A> <pad>",
    "  two  leading, trailing  ",
    "tabs\tand\r\nlines\n\n\n",
    "nul \x00, escape \x1b, zero width \u200b\u200d, no-break \xa0",
    "👩\u200d👧 \U0001d518\U0001d52b 漢字 العربية नमस्ते",
    "cafe\u0301 is not café",
    f"reserved {RESERVED_MARK} mark",
    "",
    " ",
]


def texts(seed: int, count: int) -> list[str]:
    source = random.Random(seed)
    return ["\n".join(sentence(source) for _ in range(source.randint(2, 6))) for _ in range(count)]


def lines(seed: int, count: int) -> list[bytes]:
    return [line.encode() for text in texts(seed, count) for line in text.split("\n")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact]:
    """The stage run for real on two sources; U+0416 is frequent in the held-out documents alone."""
    folder = tmp_path_factory.mktemp("tokenizer")
    recipe = write_recipe(folder)
    alpha, beta = texts(1, 300), [*texts(2, 200), f"one {SPACE_MARK} in training", f"one {RESERVED_MARK} too"]
    heldout = {"alpha": [f"{text} ЖЖЖ" for text in texts(3, 40)], "beta": [*HARD, f"a {SPACE_MARK} mark"]}
    write_clean(folder / "runs", {"alpha": alpha, "beta": beta}, heldout=heldout)
    ended = run_module("data", "tokenizer", recipe)
    assert (ended.returncode, ended.stderr) == (0, "")
    return recipe, open_artifact(Path(ended.stdout.strip()))


def test_every_heldout_document_decodes_to_itself_unless_it_holds_the_space_mark(stage: tuple[Path, Artifact]) -> None:
    facts = stage[1].facts
    assert facts["heldout"]["alpha"]["lossless"] == facts["heldout"]["alpha"]["documents"] == 40
    assert facts["heldout"]["beta"]["lossless"] == facts["heldout"]["beta"]["documents"] - 1 == len(HARD)
    assert facts["training_documents_with_space_mark"] == 1
    assert 2 < facts["bytes_per_token_by_source"]["alpha"] < 8


def test_any_text_without_the_space_mark_decodes_to_itself_and_holds_no_mark_of_ours(
    stage: tuple[Path, Artifact],
) -> None:
    tokenizer = Tokenizer.open(stage[1].folder)
    source = random.Random(1)
    points = [*range(0x20), *range(0x20, 0x7F), 0xE9, 0x3042, 0x1F600, 0x10FFFF, 0xFFFD, 0xFEFF, 0x85, 0x2028]
    strings = ["".join(chr(source.choice(points)) for _ in range(source.randint(0, 30))) for _ in range(2000)]
    for text in HARD + strings:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not set(ids) & {0, tokenizer.bos_id, tokenizer.eos_id}
    assert tokenizer.decode(tokenizer.encode(f"a{SPACE_MARK}b")) == "a b"
    assert tokenizer.decode([tokenizer.bos_id, *tokenizer.encode("text"), tokenizer.eos_id]) == "text"


def test_the_ids_are_where_the_contract_says(stage: tuple[Path, Artifact]) -> None:
    tokenizer = Tokenizer.open(stage[1].folder / "tokenizer.model")
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (1, 2, 512)
    assert len(tokenizer.encode("1984")) == 4


def test_heldout_text_is_not_trained_on(stage: tuple[Path, Artifact]) -> None:
    folder = stage[1].folder
    assert len(Tokenizer.open(folder).encode("Ж")) == 2  # two bytes: no piece
    assert len(Tokenizer.open(folder).encode("ñ")) == 1  # rarer, but in the training documents


def test_training_accounts_for_every_byte(stage: tuple[Path, Artifact]) -> None:
    record = json.loads((stage[1].folder / "training.json").read_bytes())
    beta = record["fed"]["beta"]
    assert beta["documents"] == 202
    assert beta["documents_with_space_mark"] == 1
    assert beta["reserved_bytes"] == 3
    assert beta["text_bytes"] == beta["fed_bytes"] + beta["newline_bytes"] + beta["reserved_bytes"]
    assert record["fed"]["alpha"]["text_bytes"] == sum(len(text.encode()) for text in texts(1, 300))


def test_the_stage_run_again_is_found_and_made_elsewhere_is_equal(stage: tuple[Path, Artifact], tmp_path: Path) -> None:
    recipe, artifact = stage
    again = run_module("data", "tokenizer", recipe)
    assert again.stdout.strip() == str(artifact.folder)
    runs = artifact.folder.parent
    elsewhere = run_module("data", "tokenizer", recipe, f"run.out={tmp_path / 'out'}", f"run.inputs={runs}")
    assert open_artifact(Path(elsewhere.stdout.strip())).digest == artifact.digest
    changed = run_module(
        "data", "tokenizer", recipe, f"run.out={tmp_path / 'out'}", f"run.inputs={runs}", "tokenizer.vocab_size=500"
    )
    assert open_artifact(Path(changed.stdout.strip())).digest != artifact.digest


def test_the_model_does_not_depend_on_file_names_or_threads(tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=400)
    fed = lines(5, 100)
    (tmp_path / "input.txt").write_bytes(b"\n".join(fed) + b"\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "input.txt"),
        model_prefix=str(tmp_path / "named"),
        vocab_size=400,
        character_coverage=config.character_coverage,
        max_sentence_length=config.max_sentence_bytes,
        minloglevel=2,
        **{**SETTINGS, "num_threads": 2},
    )
    raw = (tmp_path / "named.model").read_bytes()
    assert str(tmp_path).encode() in raw
    assert canonical(raw) == train(fed, config)
    assert train(lines(6, 100), config) != train(fed, config)


def test_the_trainer_is_silent_and_takes_every_sentence_that_is_fed(capfd: pytest.CaptureFixture[str]) -> None:
    config = TokenizerConfig(vocab_size=400, max_sentence_bytes=200)
    strange = f"{'é' * 1000}\n\n{RESERVED_MARK}a{RESERVED_MARK}\n nul \x00\t tab\n\n"
    fed = [sentence for text in [*texts(5, 100), strange] for sentence in split_sentences(text, max_bytes=200)]
    train(fed, config)
    assert capfd.readouterr() == ("", "")
    train(fed, config, log_level=0)
    assert loaded_and_skipped(capfd) == (len(fed), 0)


def test_what_is_not_split_is_skipped_by_the_trainer(capfd: pytest.CaptureFixture[str]) -> None:
    config = TokenizerConfig(vocab_size=400, max_sentence_bytes=200)
    fed = lines(5, 100)
    train([*fed, b"x" * 201, RESERVED_MARK.encode(), b""], config, log_level=0)
    assert loaded_and_skipped(capfd) == (len(fed), 1)


def loaded_and_skipped(capfd: pytest.CaptureFixture[str]) -> tuple[int, int]:
    """What the trainer says of the sentences that it took and of those that were too long."""
    log = capfd.readouterr().err
    loaded = re.search(r"Loaded all (\d+) sentences", log)
    skipped = re.search(r"Skipped (\d+) too long sentences", log)
    assert loaded, log
    return int(loaded[1]), int(skipped[1]) if skipped else 0


def test_sentences_are_lines_cut_between_characters() -> None:
    assert split_sentences("one\n\n two \n", max_bytes=100) == [b"one", b" two "]
    assert split_sentences(f"a{RESERVED_MARK}b{RESERVED_MARK}", max_bytes=100) == [b"a", b"b"]
    assert split_sentences("aé漢😀", max_bytes=4) == ["aé".encode(), "漢".encode(), "😀".encode()]
    assert split_sentences("abcd", max_bytes=4) == [b"abcd"]
    text = "aé漢😀" * 99
    for max_bytes in range(4, 30):
        pieces = split_sentences(text, max_bytes=max_bytes)
        assert b"".join(pieces).decode() == text
        assert max(map(len, pieces)) <= max_bytes
        assert all(piece.decode() for piece in pieces)


def test_a_tokenizer_that_loses_text_stops_the_stage(tmp_path: Path) -> None:
    model = io.BytesIO()
    lossy = {**SETTINGS, "normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines(5, 100)), model_writer=model, vocab_size=400, minloglevel=2, **lossy
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    documents = documents_of("alpha", ["two  spaces"])
    write_documents(tmp_path / "alpha.jsonl", documents)
    with pytest.raises(DeterministicError, match=documents[0].key):
        measure(Tokenizer.open(tmp_path), [tmp_path / "alpha.jsonl"])


def test_a_vocabulary_that_the_text_cannot_give_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"cannot make 5000 pieces .* change tokenizer\.vocab_size") as caught:
        train(lines(5, 20), TokenizerConfig(vocab_size=5000))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="give more text"):
        train([], TokenizerConfig(vocab_size=300))


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_damaged_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.model"):
        Tokenizer.open(tmp_path)


def test_a_model_with_other_ids_is_refused(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines(5, 20)), model_writer=model, vocab_size=100, minloglevel=2, pad_id=0, unk_id=3
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    with pytest.raises(DataError, match="not at 0, 1, 2"):
        Tokenizer.open(tmp_path)


def test_training_files_are_sorted_by_source_and_number(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no training documents"):
        training_files(tmp_path)
    for name in ("wiki-en-00001", "wiki-en-00000", "wiki-00000", "wiki-en-x-00000"):
        (tmp_path / "train" / f"{name}.jsonl").touch()
    files = {source: [path.stem for path in paths] for source, paths in training_files(tmp_path).items()}
    assert files == {
        "wiki": ["wiki-00000"],
        "wiki-en": ["wiki-en-00000", "wiki-en-00001"],
        "wiki-en-x": ["wiki-en-x-00000"],
    }
    assert list(files) == sorted(files)


@pytest.mark.parametrize("name, value", [("vocab_size", 259), ("character_coverage", 0.0), ("max_sentence_bytes", 3)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"tokenizer.{name} is {value}"):
        dataclasses.replace(TokenizerConfig(vocab_size=512), **{name: value})  # type: ignore[arg-type]


def test_a_tokenizer_is_taken_over_by_hash_and_measured_but_not_trained(
    stage: tuple[Path, Artifact], tmp_path: Path
) -> None:
    recipe, trained = stage
    model = shutil.copyfile(trained.folder / "tokenizer.model", tmp_path / "parent.model")
    sha256 = hash_file(model)
    given = [f"run.out={tmp_path}", f"run.inputs={recipe.parent / 'runs'}", f"tokenizer.sha256={sha256}"]
    ended = run_module("data", "tokenizer", recipe, *given, f"tokenizer.model={model}")
    assert (ended.returncode, ended.stderr) == (0, "")
    taken = open_artifact(Path(ended.stdout.strip()))
    assert hash_file(taken.folder / "tokenizer.model") == sha256
    assert taken.facts["heldout"] == trained.facts["heldout"]
    assert json.loads((taken.folder / "training.json").read_bytes())["fed"] == {}
    missing = run_module("data", "tokenizer", recipe, *given, "tokenizer.max_sentence_bytes=99")
    assert missing.returncode == 64
    assert "tokenizer.model is not given" in missing.stderr


def test_another_tokenizer_than_the_recipe_names_is_not_taken_over(stage: tuple[Path, Artifact]) -> None:
    model = stage[1].folder / "tokenizer.model"
    with pytest.raises(DataError, match="correct one of them"):
        take_over(TokenizerConfig(vocab_size=512, sha256="0" * 64, model=model))
    with pytest.raises(ConfigError, match=r"has 512 pieces, tokenizer\.vocab_size is 600"):
        take_over(TokenizerConfig(vocab_size=600, sha256=hash_file(model), model=model))
    with pytest.raises(ConfigError, match="give its SHA-256 too"):
        TokenizerConfig(vocab_size=512, model=model)
