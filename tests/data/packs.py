"""Small clean artifacts and packs that the tests of data/ write themselves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.artifact import Artifact, build, plan
from core.hashing import canonical_json
from core.seeds import random_bytes
from data.chat import ROLES, SPECIALS, Form, Message, encode, sides_of
from data.corpus.keys import write_keys
from data.course import plan_course
from data.documents import Document, key_of, write_documents
from data.orderfile import describe, write_order
from data.packconfig import PackConfig
from data.report import REPORT
from data.shards import write_shards
from data.wholes import Whole, fill_windows, write_wholes

VOCAB_SIZE = 512
VOCABULARY = {"bos_id": 1, "eos_id": 2, "vocab_size": VOCAB_SIZE, "tokenizer_sha256": "0" * 64}


def documents_of(source: str, texts: Sequence[str]) -> list[Document]:
    """Documents in the order of their keys, as a clean artifact has them."""
    return sorted((Document(key_of(text), source, text, source) for text in texts), key=lambda document: document.key)


def write_clean(
    runs: Path,
    train: Mapping[str, Sequence[str]],
    *,
    heldout: Mapping[str, Sequence[str]],
    shards: int = 1,
    report: Mapping[str, Any] | None = None,
) -> Artifact:
    """A clean artifact of given texts, in `runs`, with each source's training documents in a number of shards."""

    def write(aside: Path) -> dict[str, str]:
        (aside / "train").mkdir()
        (aside / "heldout").mkdir()
        for source, texts in train.items():
            documents = documents_of(source, texts)
            size = -(-len(documents) // shards)
            for shard in range(shards):
                part = documents[shard * size : (shard + 1) * size]
                write_documents(aside / "train" / f"{source}-{shard:05d}.jsonl", part)
        if report:
            (aside / REPORT).write_bytes(canonical_json(report))
        for source, texts in heldout.items():
            write_documents(aside / "heldout" / f"{source}.jsonl", documents_of(source, texts))
        return {"came_in": "texts", "went_out": "documents"}

    return build(plan("clean", folder="data", out=runs, config={"shards": shards}, inputs={}), write)


def generated_tokens(source: str, *, documents: int) -> list[list[int]]:
    """Documents of 2 to 65 tokens, ids 3 to 511 between bos and eos: a pure function of the source's name."""
    tokens = []
    for number in range(documents):
        lengths, *rest = random_bytes(7, source, number, count=257)
        ids = [3 + (rest[2 * at] + 256 * rest[2 * at + 1]) % (VOCAB_SIZE - 3) for at in range(lengths % 64)]
        tokens.append([1, *ids, 2])
    return tokens


def write_pack(
    folder: Path, config: PackConfig, *, documents: Mapping[str, int], train: Mapping[str, int] | None = None
) -> Path:
    """A pack of generated tokens with a number of documents in each source; returns its folder.

    `train` is section train of the recipe; the shards of a parent are taken over.
    """
    course = plan_course(config, {"train": train} if train else {})
    folder.mkdir(parents=True)
    sources = []
    for source, count in sorted(documents.items()):
        tokens = generated_tokens(source, documents=count)
        sidecars = write_shards(folder, source, tokens, vocab_size=VOCAB_SIZE, shard_tokens=config.shard_tokens)
        write_keys(folder, (key_of(f"{source} {number}") for number in range(count)), sidecars)
        sources.append(describe(source, sidecars, seq_len=config.seq_len))
    if course.parent:
        course.parent.take_shards(folder)
    write_order(folder, {**VOCABULARY, **course.record(sources)})
    return folder


class LetterTokenizer:
    """A tokenizer of letters: the ids of a text are those of its bytes; the special tokens have 3 to 7."""

    bos_id, eos_id, vocab_size = 1, 2, VOCAB_SIZE

    @property
    def special_ids(self) -> dict[str, int]:
        """Of each special token."""
        return {name: 3 + number for number, name in enumerate(SPECIALS)}

    def encode(self, text: str) -> list[int]:
        """Bytes from 16 on."""
        return [16 + byte for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes back."""
        return bytes(one - 16 for one in ids).decode()


def generated_messages(source: str, number: int) -> list[Message]:
    """A conversation of 2 to 5 messages of 1 to 12 letters: a pure function of the source's name and the number."""
    first, count, *rest = random_bytes(7, source, number, count=8)
    roles = [*ROLES[: first % 2], *["user", "assistant"] * (1 + count % 2)]
    return [Message(role, "abcdefghijkl"[: 1 + rest[at] % 12]) for at, role in enumerate(roles)]


def generated_whole(source: str, number: int, form: Form) -> Whole:
    """A conversation, or a pair whose second answer is another, as ids."""
    messages = generated_messages(source, number)
    tokenizer = LetterTokenizer()
    if form is Form.CONVERSATIONS:
        return Whole((encode(messages, tokenizer),))
    *prompt, answer = messages
    pair = [*prompt, Message("chosen", answer.content), Message("rejected", answer.content[::-1] + "!")]
    return Whole(tuple(encode(side, tokenizer, is_last_only=True) for side in sides_of(pair)))


def write_chat_pack(folder: Path, config: PackConfig, *, documents: Mapping[str, int]) -> Path:
    """A pack of generated conversations, or pairs as `config.form` says, so many of each source; returns its folder.

    A window must have room for 65 tokens.
    """
    course = plan_course(config, {})
    folder.mkdir(parents=True)
    sources = []
    for source, count in sorted(documents.items()):
        wholes = [generated_whole(source, number, config.form) for number in range(count)]
        is_alone = config.form is Form.PAIRS
        lengths = [whole.tokens for whole in wholes]
        filled = [[at] for at in range(count)] if is_alone else fill_windows(lengths, room=config.seq_len + 1)
        described = write_wholes(
            folder,
            source,
            ([wholes[at] for at in window] for window in filled),
            vocab_size=VOCAB_SIZE,
            shard_tokens=config.shard_tokens,
            seq_len=config.seq_len,
            form=config.form,
        )
        keys = (key_of(f"{source} {at}") for window in filled for at in window)
        write_keys(folder, keys, described["shards"])
        sources.append(described)
    write_order(folder, {**VOCABULARY, "form": config.form.value, **course.record(sources)})
    return folder
