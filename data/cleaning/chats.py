"""What stands for judge.py where a source holds conversations or pairs: they are cleaned message by message.

Repair, the normal form and masking are done to every content by itself. Filters and languages look at all that is said,
a line feed between the contents. Steps that are made for pages, or take lines out, are refused (`check_forms`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from core.errors import ConfigError
from data.chat import ASSISTANT, SYSTEM, TOOL, USER, Form, Message, contents_of, messages_of, text_of
from data.cleanconfig import CleanConfig
from data.cleaning.rows import Row
from data.reading.extract import Raw
from data.sources.fetch import Source
from data.steps.filters import drop_reason
from data.steps.language import identify, language_reason
from data.steps.normalize import normalize
from data.steps.pii import mask
from data.steps.repair import repair

# Each with what it would do to a conversation.
REFUSED = {
    "c4": "takes lines without a full stop out of what is said",
    "repetition": "is made for pages, and a dialogue repeats itself",
    "quality": "is made for pages, and drops whatever is short",
    "fineweb": "is made for pages, and drops whatever has short lines",
    "lines": "takes sentences that many conversations share out of them",
}


def check_forms(sources: Iterable[Source], config: CleanConfig) -> None:
    """Raise ConfigError for a step that makes no sense for a source of conversations or pairs."""
    for source in sources:
        for name, harm in REFUSED.items():
            if source.read.form is not Form.TEXT and getattr(config, name).is_on:
                raise ConfigError(
                    f"clean.{name} is on, but source {source.name} holds {source.read.form.value}: the step {harm}; "
                    "turn it off"
                )


def judge_chat(source: str, raw: Raw, form: Form, *, config: CleanConfig) -> Row:
    """Bring one conversation or pair into the form in which it would be written, and decide on it."""
    found = messages_of(raw.text)
    normal = [Message(role, normalize(repair(content, config.repair))) for role, content in found]
    masked = Counter[str]()
    messages = []
    for role, content in normal:
        content, counts = mask(content, config.mask)
        messages.append(Message(role, content))
        masked.update(counts)
    text = text_of(messages)
    reason, language = chat_reason(messages, form) or drop_reason(contents_of(text), config.filters), ""
    if not reason and config.language.expected:
        language = identify(contents_of(text), config.language)
        reason = language_reason(language, source=source, config=config.language)
    return Row.judged(
        text,
        source=source,
        raw=raw,
        normal=text_of(normal),
        reason=reason,
        masked=dict(masked),
        language=language,
    )


def chat_reason(messages: Sequence[Message], form: Form) -> str:
    """Why a conversation or pair in normal form is dropped; empty if it is not.

    empty_message       a content without a letter
    roles_out_of_order  the system not at the beginning, or an answer to nobody
    no_answer           nothing of the assistant's to learn from
    same_answers        a pair of which neither answer is the better one
    """
    if not all(message.content.strip() for message in messages):
        return "empty_message"
    roles = [role for role, _ in messages]
    spoken = roles[1:] if roles[0] == SYSTEM else roles
    prompt = spoken[:-2] if form is Form.PAIRS else spoken
    if SYSTEM in spoken or prompt[:1] != [USER] or (form is Form.PAIRS and prompt[-1] not in (USER, TOOL)):
        return "roles_out_of_order"
    if form is Form.PAIRS:
        return "same_answers" if messages[-2].content == messages[-1].content else ""
    return "" if ASSISTANT in roles else "no_answer"
