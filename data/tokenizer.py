"""The tokenizer: SentencePiece BPE with byte fallback, trained on the training split only.

Reads a clean artifact, writes `tokenizer.model` and `training.json`. Every text without U+2581 decodes to itself: no
normalization, no added or removed spaces, and what is not in the vocabulary becomes bytes (Kudo and Richardson 2018,
arXiv:1808.06226; Sennrich et al. 2016, arXiv:1508.07909).

Traps of the trainer, and what is done about them:
- it silently skips sentences over max_sentence_length and those with U+2585: no such sentence is fed, lines are split
  before, and every byte of the text is accounted for in training.json;
- the model holds its input's name, its own name and the number of threads: they are cleared;
- U+2581 stands for the space inside the model and decodes to a space: documents that hold it are counted.
"""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from core.artifact import Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.config import PLACEMENT, RunConfig, added, identity, load
from core.errors import ConfigError, DataError, DeterministicError
from core.hashing import canonical_json, hash_file, sha256_hex
from data.chat import SPECIALS, is_marked, messages_of
from data.documents import Document, read_documents

MODEL = "tokenizer.model"
UNK_ID, BOS_ID, EOS_ID = 0, 1, 2
SPACE_MARK, RESERVED_MARK = "\u2581", "\u2585"

# One thread: the pieces are the same for any number, and so is then the time on every machine.
SETTINGS: dict[str, Any] = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,
    "num_threads": 1,
    "unk_id": UNK_ID,
    "bos_id": BOS_ID,
    "eos_id": EOS_ID,
    "pad_id": -1,
}
SILENT = 2  # level of errors, which are raised anyway


@dataclass(kw_only=True, slots=True)
class TokenizerConfig:
    """Section `tokenizer`.

    chat    the special tokens of conversations (data/chat.py) are control symbols of the model, which no text becomes.
            In a model that is taken over without them they take the places of its last merges, so that its size, and
            so the shape of a model that was trained with it, stays
    sha256  of a tokenizer.model that is taken over, instead of training one; `model` is where it lies, or the folder of
            the run or bundle that has it
    """

    vocab_size: int
    character_coverage: float = 0.9995
    max_sentence_bytes: int = 16_384
    sha256: str = ""
    chat: bool = added(default=False)
    model: Path = field(default=Path(), metadata={PLACEMENT: True})

    def __post_init__(self) -> None:
        if self.vocab_size < 260 + self.chat * len(SPECIALS):
            needed = "256 bytes and 3 marks need at least 260"
            needed += f", and {len(SPECIALS)} more for conversations" if self.chat else ""
            raise ConfigError(f"tokenizer.vocab_size is {self.vocab_size}; {needed}")
        if not 0.9 <= self.character_coverage <= 1.0:
            raise ConfigError(f"tokenizer.character_coverage is {self.character_coverage}; give 0.9 to 1.0")
        if self.max_sentence_bytes < 4:
            raise ConfigError(f"tokenizer.max_sentence_bytes is {self.max_sentence_bytes}; a character may need 4")
        if self.model != Path() and not self.sha256:
            raise ConfigError(f"tokenizer.model is {self.model}; give its SHA-256 too, as tokenizer.sha256")


class Tokenizer:
    """A trained tokenizer; made by `Tokenizer.open`."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.vocab_size: int = processor.vocab_size()
        self.bos_id: int = processor.bos_id()
        self.eos_id: int = processor.eos_id()

    @classmethod
    def open(cls, path: Path) -> "Tokenizer":
        """Open a model file, or the one in a tokenizer artifact's folder.

        Raises DataError if it cannot be read or gives the marks other ids than ours.
        """
        path = path / MODEL if path.is_dir() else path
        try:
            processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        except (OSError, RuntimeError) as error:
            raise DataError(f"{path} is not a readable SentencePiece model: {error}; train the tokenizer") from error
        if processor.vocab_size() == 0:
            raise DataError(f"{path} is an empty SentencePiece model; train the tokenizer again")
        found = (processor.unk_id(), processor.bos_id(), processor.eos_id())
        if found != (UNK_ID, BOS_ID, EOS_ID):
            raise DataError(f"{path} has unk, bos, eos at {found}, not at 0, 1, 2; train it with this code")
        return cls(processor)

    @property
    def is_chat(self) -> bool:
        """Whether the model has the special tokens of conversations."""
        return all(self._processor.is_control(self._processor.piece_to_id(name)) for name in SPECIALS)

    @property
    def special_ids(self) -> dict[str, int]:
        """The id of each special token of conversations. Raises ConfigError if the model does not have them."""
        ids = {name: int(self._processor.piece_to_id(name)) for name in SPECIALS}
        missing = [name for name, one in ids.items() if not self._processor.is_control(one)]
        if missing:
            raise ConfigError(f"the tokenizer has no special token {missing[0]}; set tokenizer.chat=true")
        return ids

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without bos, eos and the tokens of conversations, which no text can produce."""
        ids: list[int] = self._processor.encode(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bos and eos decode to nothing, bytes that are no UTF-8 to U+FFFD."""
        text: str = self._processor.decode(list(ids))
        return text


@dataclass(kw_only=True, slots=True)
class Fed:
    """What the trainer got of a source: text_bytes = fed_bytes + newline_bytes + reserved_bytes.

    The marks between the messages of a conversation, with the roles, are not fed and count as reserved.
    """

    documents: int = 0
    documents_with_space_mark: int = 0
    text_bytes: int = 0
    sentences: int = 0
    fed_bytes: int = 0
    newline_bytes: int = 0
    reserved_bytes: int = 0

    def count(self, text: str, sentences: Sequence[bytes]) -> None:
        """Account for one document."""
        self.documents += 1
        self.documents_with_space_mark += SPACE_MARK in text
        self.text_bytes += len(text.encode())
        self.sentences += len(sentences)
        self.fed_bytes += sum(map(len, sentences))
        self.newline_bytes += text.count("\n")
        self.reserved_bytes += text.count(RESERVED_MARK) * len(RESERVED_MARK.encode()) + count_marks(text)
        assert self.text_bytes == self.fed_bytes + self.newline_bytes + self.reserved_bytes, "bytes were lost"


def main(arguments: list[str]) -> None:
    """Verb `tokenizer`: make the artifact of stage tokenizer and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data tokenizer")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "tokenizer", TokenizerConfig, overrides)
    clean = current(run.inputs_folder, "clean")
    # the trainer's version decides the model, so it belongs to the key
    wanted = plan(
        "tokenizer",
        folder="data",
        out=run.out_folder,
        config={**identity(config), "sentencepiece": version("sentencepiece")},
        inputs={"clean": clean},
    )
    artifact = build(wanted, lambda aside: write_tokenizer(aside, clean, config))
    sys.stdout.write(f"{artifact.folder}\n")


def write_tokenizer(aside: Path, clean: Artifact, config: TokenizerConfig) -> Facts:
    """Train on the training split, write model and record, and measure on the held-out split."""
    fed: dict[str, Fed] = {}
    if config.sha256:
        content = take_over(config)
        (aside / MODEL).write_bytes(with_specials(content) if config.chat else content)
    else:
        documents = (document for paths in training_files(clean.folder).values() for document in _in_turn(paths))
        (aside / MODEL).write_bytes(train(feed(documents, fed, max_bytes=config.max_sentence_bytes), config))
    record = {
        "settings": {} if config.sha256 else settings_of(config),
        "sentencepiece": version("sentencepiece"),
        "model_sha256": hash_file(aside / MODEL),
        "fed": {source: asdict(counts) for source, counts in fed.items()},
    }
    (aside / "training.json").write_bytes(canonical_json(record))
    heldout = measure(Tokenizer.open(aside), sorted((clean.folder / "heldout").glob("*.jsonl")))
    return _facts(fed, heldout, config)


def settings_of(config: TokenizerConfig) -> dict[str, Any]:
    """What the trainer is told, with section tokenizer."""
    return {**SETTINGS, **{name: value for name, value in identity(config).items() if name != "sha256"}}


def take_over(config: TokenizerConfig) -> bytes:
    """The bytes of another run's model. Raises ConfigError or DataError if it is not what section tokenizer says."""
    if config.model == Path():
        raise ConfigError(f"tokenizer.model is not given; name the tokenizer.model with SHA-256 {config.sha256}")
    path = find_model(config.model)
    opened = Tokenizer.open(path)
    content = path.read_bytes()
    found = sha256_hex(content)
    if found != config.sha256:
        raise DataError(f"{path} has SHA-256 {found}, tokenizer.sha256 is {config.sha256}; correct one of them")
    if opened.vocab_size != config.vocab_size:
        raise ConfigError(
            f"{path} has {opened.vocab_size} pieces, tokenizer.vocab_size is {config.vocab_size}; correct it"
        )
    return content


def training_files(clean_folder: Path) -> dict[str, list[Path]]:
    """The training shards of a clean artifact by source, both sorted. Raises DataError if there are none."""
    paths = sorted((clean_folder / "train").glob("*.jsonl"))
    if not paths:
        raise DataError(f"no training documents in {clean_folder / 'train'}; run stage clean again")
    by_source = groupby(sorted(paths, key=_source_of), key=_source_of)
    return {source: sorted(group) for source, group in by_source}


def _source_of(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def _in_turn(paths: Iterable[Path]) -> Iterator[Document]:
    for path in paths:
        yield from read_documents(path)


def feed(documents: Iterable[Document], fed: dict[str, Fed], *, max_bytes: int) -> Iterator[bytes]:
    """The sentences of documents, in their order; `fed` is filled with the counts of each source."""
    for document in documents:
        sentences = split_sentences(document.said, max_bytes=max_bytes)
        fed.setdefault(document.source, Fed()).count(document.text, sentences)
        yield from sentences


def split_sentences(text: str, *, max_bytes: int) -> list[bytes]:
    """The lines of a text, cut where the trainer would skip them: at U+2585, and between characters at max_bytes."""
    parts = [part.encode() for line in text.split("\n") for part in line.split(RESERVED_MARK) if part]
    return [piece for part in parts for piece in _cut(part, max_bytes)]


def count_marks(text: str) -> int:
    """Bytes of a conversation that are marks and roles, and none of what is said; 0 for another text."""
    if not is_marked(text):
        return 0
    messages = messages_of(text)
    return len(text.encode()) - sum(len(message.content.encode()) for message in messages)


def _cut(line: bytes, max_bytes: int) -> list[bytes]:
    pieces = []
    while len(line) > max_bytes:
        end = max_bytes
        while line[end] & 0xC0 == 0x80:  # not between the bytes of one character
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]


def train(sentences: Iterable[bytes], config: TokenizerConfig, *, log_level: int = SILENT) -> bytes:
    """Train on sentences, in their order, and return the model's canonical bytes.

    Raises ConfigError if the sentences do not yield a vocabulary of that size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            max_sentence_length=config.max_sentence_bytes,
            minloglevel=log_level,
            **{**SETTINGS, **({"control_symbols": list(SPECIALS)} if config.chat else {})},
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"sentencepiece cannot make {config.vocab_size} pieces of the training documents: {reason}; "
            "change tokenizer.vocab_size, or give more text"
        ) from error
    return canonical(model.getvalue())


def canonical(model: bytes) -> bytes:
    """The model without what does not decide how it encodes (names of files, number of threads), serialized one way."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    for name in ("input", "model_prefix", "num_threads"):
        proto.trainer_spec.ClearField(name)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def find_model(path: Path) -> Path:
    """The model file that a path names: itself, or that of a run or bundle whose folder it is."""
    if not path.is_dir():
        return path
    return (
        current(path, "tokenizer").folder / MODEL if (path / "tokenizer.json").exists() else path / "tokenizer" / MODEL
    )


def with_specials(model: bytes) -> bytes:
    """The model with the special tokens of conversations in the places of its last merges, in canonical form.

    No other piece is built from these. A model that has them stays as it is. Raises ConfigError if the model spells one
    of them as a piece of text, or has too few merges.
    """
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    there = {piece.piece: piece.type for piece in proto.pieces if piece.piece in SPECIALS}
    if set(there) == set(SPECIALS) and set(there.values()) == {kinds.CONTROL}:
        return model
    merges = [piece for piece in proto.pieces if piece.type == kinds.NORMAL and len(piece.piece) > 1]
    if there or len(merges) < len(SPECIALS):
        raise ConfigError(
            f"the tokenizer that is taken over has {len(merges)} merges and the pieces {', '.join(there) or 'none'} of "
            "conversations; train one with tokenizer.chat=true"
        )
    for piece, name in zip(merges[-len(SPECIALS) :], SPECIALS, strict=True):
        piece.piece, piece.score, piece.type = name, 0.0, kinds.CONTROL
    return canonical(proto.SerializeToString(deterministic=True))


def measure(tokenizer: Tokenizer, paths: Iterable[Path]) -> dict[str, dict[str, int]]:
    """Counts over held-out documents by source: documents, bytes, tokens, and how many decode to themselves.

    Raises DeterministicError for a document that does not, unless it holds U+2581.
    """
    counts: dict[str, dict[str, int]] = {}
    for document in _in_turn(paths):
        text = document.said
        ids = tokenizer.encode(text)
        is_lossless = tokenizer.decode(ids) == text
        if not is_lossless and SPACE_MARK not in document.text:
            raise DeterministicError(
                f"held-out document {document.key} of {document.source} does not decode to itself; "
                "the tokenizer's settings lose text, do not use it"
            )
        empty = {"documents": 0, "bytes": 0, "tokens": 0, "lossless": 0}
        count = counts.setdefault(document.source, empty)
        count["documents"] += 1
        count["bytes"] += len(text.encode())
        count["tokens"] += len(ids)
        count["lossless"] += is_lossless
    return counts


def _facts(fed: dict[str, Fed], heldout: dict[str, dict[str, int]], config: TokenizerConfig) -> Facts:
    documents, text_bytes = sum(f.documents for f in fed.values()), sum(f.text_bytes for f in fed.values())
    whole = {
        name: sum(count[name] for count in heldout.values()) for name in ("documents", "bytes", "tokens", "lossless")
    }
    ratio = bytes_per_token(whole["bytes"], whole["tokens"])
    came_in = f"{documents:,} training documents, {text_bytes / 1e6:.1f} MB of text"
    return {
        "came_in": f"a tokenizer by its hash {config.sha256[:12]}" if config.sha256 else came_in,
        "went_out": f"{config.vocab_size:,} pieces, {ratio:.2f} bytes a token, "
        f"{whole['lossless']:,} of {whole['documents']:,} held-out documents lossless",
        "vocab_size": config.vocab_size,
        "bytes_per_token": ratio,
        "bytes_per_token_by_source": {
            source: bytes_per_token(count["bytes"], count["tokens"]) for source, count in sorted(heldout.items())
        },
        "heldout": heldout,
        "training_documents_with_space_mark": sum(f.documents_with_space_mark for f in fed.values()),
    }


def bytes_per_token(count_bytes: int, count_tokens: int) -> float:
    """The ratio to four digits; 0 where there are no tokens."""
    return round(count_bytes / count_tokens, 4) if count_tokens else 0.0
