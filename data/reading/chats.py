"""Conversations and pairs out of records, by the names that files in the wild give to their parts.

A conversation is one of
    messages  a list of {role, content}; a list of texts is the user's and the assistant's in turn
    prompt and response, with context, which is put behind the prompt, and system if they are there
A pair is prompt, a text or a list of messages, and chosen and rejected, each a text, a message or a list of one, or a
whole conversation that begins with the prompt's messages; without a prompt both begin with the same messages.

Other names are given as `read.columns` (of dolly: {prompt: instruction, response: response}), other roles as
`read.roles`. A record itself may also be such a list of messages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import ConfigError
from data.chat import ASSISTANT, CHOSEN, REJECTED, ROLES, SYSTEM, USER, Form, Message

FIELDS = {
    Form.CONVERSATIONS: ("messages", "prompt", "context", "response", "system"),
    Form.PAIRS: ("prompt", "system", CHOSEN, REJECTED),
}
PARTS = ("role", "content")
NO_MESSAGES, UNKNOWN_ROLE = "no_messages", "unknown_role"

Record = Mapping[str, Any]
Read = tuple[list[Message], str]


class UnreadableError(ValueError):
    """A record that is no conversation or pair; says the reason under which it is counted."""


def check_names(form: Form, *, columns: Mapping[str, str], roles: Mapping[str, str]) -> None:
    """Raise ConfigError for names that are given to nothing."""
    if form is Form.TEXT:
        if columns or roles:
            raise ConfigError("read.columns and read.roles are of conversations and pairs; set read.form, or leave out")
        return
    known = (*FIELDS[form], *PARTS)
    strange = [name for name in columns if name not in known] + [role for role in roles.values() if role not in ROLES]
    if strange:
        raise ConfigError(
            f"read.columns and read.roles have {strange[0]!r}; columns name {', '.join(known)}, roles become one of "
            f"{', '.join(ROLES)}"
        )


def fields_of(form: Form, columns: Mapping[str, str]) -> list[str]:
    """The fields of a record that are read, as the file names them."""
    return [columns.get(name, name) for name in FIELDS[form]]


def read_messages(record: Any, form: Form, *, columns: Mapping[str, str], roles: Mapping[str, str]) -> Read:
    """The messages of a record, none if it is unreadable, and the reason why it is (else empty)."""
    reader = _Reader(columns, roles)
    try:
        return (reader.pair(record) if form is Form.PAIRS else reader.conversation(record)), ""
    except UnreadableError as error:
        return [], str(error)


class _Reader:
    def __init__(self, columns: Mapping[str, str], roles: Mapping[str, str]) -> None:
        self._columns, self._roles = columns, {**dict(zip(ROLES, ROLES, strict=True)), **roles}

    def conversation(self, record: Any) -> list[Message]:
        """The messages of a conversation."""
        if isinstance(record, list):
            return self._listed(record)
        if self._get(record, "messages") is not None:
            return [*self._system(record), *self._listed(self._get(record, "messages"))]
        prompt, response = self._text(record, "prompt"), self._text(record, "response")
        context = self._get(record, "context")
        if isinstance(context, str) and context.strip():
            prompt = f"{prompt}\n\n{context}"
        return [*self._system(record), Message(USER, prompt), Message(ASSISTANT, response)]

    def pair(self, record: Any) -> list[Message]:
        """The messages of a pair's prompt, and its two answers."""
        prompt = self._prompt(record)
        chosen, rejected = (self._answer(record, name, prompt) for name in (CHOSEN, REJECTED))
        if prompt is None:
            if chosen[:-1] != rejected[:-1]:
                raise UnreadableError(NO_MESSAGES)
            prompt = chosen[:-1]
        if not prompt or chosen[-1].role != ASSISTANT or rejected[-1].role != ASSISTANT:
            raise UnreadableError(NO_MESSAGES)
        answers = [Message(CHOSEN, chosen[-1].content), Message(REJECTED, rejected[-1].content)]
        return [*self._system(record), *prompt, *answers]

    def _prompt(self, record: Any) -> list[Message] | None:
        prompt = self._get(record, "prompt")
        if prompt is None or isinstance(prompt, str):
            return None if prompt is None else [Message(USER, prompt)]
        return self._listed(prompt)

    def _answer(self, record: Any, name: str, prompt: Sequence[Message] | None) -> list[Message]:
        """The messages of one side; those of the prompt before the answer are taken off if they are there."""
        answer = self._get(record, name)
        if isinstance(answer, str):
            return [Message(ASSISTANT, answer)]
        messages = self._listed([answer] if isinstance(answer, dict) else answer)
        if prompt is not None and messages[:-1] not in ([], list(prompt)):
            raise UnreadableError(NO_MESSAGES)
        return messages if prompt is None else messages[-1:]

    def _system(self, record: Any) -> list[Message]:
        """The instructions that a record gives by themselves; an empty text is none."""
        system = self._get(record, SYSTEM)
        return [Message(SYSTEM, system)] if isinstance(system, str) and system.strip() else []

    def _listed(self, messages: Any) -> list[Message]:
        if not isinstance(messages, list) or not messages:
            raise UnreadableError(NO_MESSAGES)
        if all(isinstance(message, str) for message in messages):
            return [Message((USER, ASSISTANT)[at % 2], content) for at, content in enumerate(messages)]
        listed = [Message(self._role(message), self._text(message, "content")) for message in messages]
        # an empty message of the system says nothing, and many files have one
        return [message for message in listed if message.role != SYSTEM or message.content.strip()]

    def _role(self, message: Any) -> str:
        role = self._text(message, "role")
        if role not in self._roles:
            raise UnreadableError(UNKNOWN_ROLE)
        return self._roles[role]

    def _text(self, record: Any, name: str) -> str:
        value = self._get(record, name)
        if not isinstance(value, str):
            raise UnreadableError(NO_MESSAGES)
        return value

    def _get(self, record: Any, name: str) -> Any:
        if not isinstance(record, dict):
            raise UnreadableError(NO_MESSAGES)
        return record.get(self._columns.get(name, name))
