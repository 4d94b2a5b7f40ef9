"""Conversations and preferences: how they stand as text in a document, and as token ids with a mask.

As text: of every message U+001E, its role, U+001F and its content. The normal form of texts (data/steps/normalize.py)
holds no control characters, so no content can hold either mark, and no plain text begins with one. The key of a
conversation is the hash of this text, as of any document. A pair ends with `chosen` and `rejected` in place of roles.

As ids, the template wholegrain-chat-1:

    <bos> then of each message <|role|> ids of its content <|end|>, and <eos> behind the last

The targets that count are the ids of an assistant's content and its <|end|>: what the model is to say and where it is
to stop. Each content is encoded by itself, and the special tokens are control symbols of SentencePiece, which no text
can become, so a content that spells `<|end|>` stays text. A pair is two conversations, its prompt with the answer that
was chosen and with the one that was rejected; of both only the answer counts.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError

TEMPLATE = "wholegrain-chat-1"
MESSAGE_MARK, CONTENT_MARK = "\x1e", "\x1f"
SYSTEM, USER, ASSISTANT, TOOL = ROLES = ("system", "user", "assistant", "tool")
CHOSEN, REJECTED = "chosen", "rejected"
END = "<|end|>"
SPECIALS = (*(f"<|{role}|>" for role in ROLES), END)

# The same for programs that render text and then look for special tokens in it: there a content that spells one becomes
# one, which is theirs to prevent.
JINJA = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Form(Enum):
    """What the documents of a source, and so the windows of a pack, are."""

    TEXT = "text"
    CONVERSATIONS = "conversations"
    PAIRS = "pairs"
    """A prompt with an answer that was chosen and one that was rejected."""


class Message(NamedTuple):
    """Who speaks, one of ROLES (in a pair the last two are CHOSEN and REJECTED), and what."""

    role: str
    content: str


class Masked(NamedTuple):
    """A conversation as ids, and which of them count as targets; both of one length."""

    ids: Ids
    mask: Mask


class ChatTokenizer(Protocol):
    """What of a tokenizer is needed here."""

    bos_id: int
    eos_id: int
    vocab_size: int

    @property
    def special_ids(self) -> dict[str, int]:
        """The id of each of SPECIALS."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""


def is_marked(text: str) -> bool:
    """Whether the text of a document is a conversation or a pair; of texts in normal form none else begins so."""
    return text.startswith(MESSAGE_MARK)


def text_of(messages: Iterable[Message]) -> str:
    """Messages as the text of a document; marks inside a content are left out, as normalizing would."""
    return "".join(f"{MESSAGE_MARK}{one.role}{CONTENT_MARK}{_without_marks(one.content)}" for one in messages)


def messages_of(text: str) -> list[Message]:
    """The messages of a document's text. Raises DataError if it is not of that form."""
    first, *parts = text.split(MESSAGE_MARK)
    messages = [Message(role, content) for role, mark, content in (p.partition(CONTENT_MARK) for p in parts) if mark]
    if first or len(messages) != len(parts) or not messages:
        raise DataError(f"{text[:40]!r} is no conversation; set read.form and pack.form to what the source holds")
    return messages


def contents_of(text: str) -> str:
    """What is said in a conversation or pair, message by message on lines of its own; another text as it is."""
    return "\n".join(message.content for message in messages_of(text)) if is_marked(text) else text


def sides_of(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The conversations of a pair: with the answer that was chosen, and with the other. Raises DataError if none."""
    *prompt, chosen, rejected = messages if len(messages) > 2 else [*messages, *[Message("", "")] * 2]
    if (chosen.role, rejected.role) != (CHOSEN, REJECTED):
        raise DataError("a conversation stands where a pair is wanted; set read.form and pack.form alike")
    return [*prompt, Message(ASSISTANT, chosen.content)], [*prompt, Message(ASSISTANT, rejected.content)]


def encode(messages: Sequence[Message], tokenizer: ChatTokenizer, *, is_last_only: bool = False) -> Masked:
    """A conversation by the template; with `is_last_only` only the last message counts, as in a pair."""
    special = tokenizer.special_ids
    ids, mask = [tokenizer.bos_id], [False]
    for number, (role, content) in enumerate(messages, start=1):
        said = [*tokenizer.encode(content), special[END]]
        is_counted = role == ASSISTANT and (not is_last_only or number == len(messages))
        ids += [special[f"<|{role}|>"], *said]
        mask += [False, *[is_counted] * len(said)]
    return Masked(np.array([*ids, tokenizer.eos_id], dtype=np.int64), np.array([*mask, False], dtype=np.bool_))


def ask(messages: Sequence[Message], tokenizer: ChatTokenizer) -> list[int]:
    """The ids of a conversation up to where the assistant begins to answer; the answer ends with the id of END."""
    ids: list[int] = encode(messages, tokenizer).ids[:-1].tolist()
    return [*ids, tokenizer.special_ids[f"<|{ASSISTANT}|>"]]


def decode(ids: Sequence[int], tokenizer: ChatTokenizer) -> list[Message]:
    """The messages of ids that `encode` gave. Raises DataError if they are not of the template."""
    roles = {one: name.strip("<|>") for name, one in tokenizer.special_ids.items() if name != END}
    end = tokenizer.special_ids[END]
    messages: list[Message] = []
    role, held = "", list[int]()
    for one in ids:
        if one in roles and not role:
            role = roles[one]
        elif one == end and role:
            messages.append(Message(role, tokenizer.decode(held)))
            role, held = "", []
        elif role:
            held.append(one)
        elif one not in (tokenizer.bos_id, tokenizer.eos_id):
            raise DataError(f"id {one} stands outside of a message; these tokens are not of template {TEMPLATE}")
    return messages


def document_text(ids: Sequence[int], tokenizer: ChatTokenizer, form: Form) -> str:
    """The text of the document that became these ids, which are all of its own."""
    if form is Form.TEXT:
        return tokenizer.decode(ids)
    if form is Form.CONVERSATIONS:
        return text_of(decode(ids, tokenizer))
    second = len(ids) - list(reversed(ids)).index(tokenizer.bos_id) - 1
    *prompt, chosen = decode(ids[:second], tokenizer)
    rejected = decode(ids[second:], tokenizer)[-1]
    return text_of([*prompt, Message(CHOSEN, chosen.content), Message(REJECTED, rejected.content)])


def _without_marks(content: str) -> str:
    return content.replace(MESSAGE_MARK, "").replace(CONTENT_MARK, "")
