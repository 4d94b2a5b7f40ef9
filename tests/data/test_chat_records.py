"""Conversations and pairs out of records as files in the wild have them, and how they are cleaned."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import ConfigError, DataError
from data.chat import Form, Message, messages_of, text_of
from data.cleanconfig import CleanConfig
from data.cleaning.chats import REFUSED, check_forms, judge_chat
from data.reading.extract import OnError, Raw, ReadConfig, raw_documents
from data.sources.fetch import Source
from data.steps.filters import FilterConfig
from data.steps.pii import MaskConfig

HI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
READ = {"form": Form.CONVERSATIONS, "on_error": OnError.DROP}
PAIRS = {"form": Form.PAIRS, "on_error": OnError.DROP}


def found(content: bytes, name: str, **read: Any) -> list[tuple[list[tuple[str, str]], str]]:
    """Messages and problem of every raw document of a file."""
    raws = list(raw_documents(io.BytesIO(content), name=name, read=ReadConfig(**{**READ, **read})))
    return [([] if raw.problem else [tuple(one) for one in messages_of(raw.text)], raw.problem) for raw in raws]  # type: ignore[misc]


def jsonl(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def one(record: Any, **read: Any) -> tuple[list[tuple[str, str]], str]:
    (only,) = found(jsonl(record), "a.jsonl", **read)
    return only


@pytest.mark.parametrize(
    ("record", "read"),
    [
        ({"messages": HI}, {}),
        (HI, {}),
        (["Hi", "Yes?"], {}),
        ({"messages": [{"role": "system", "content": ""}, *HI]}, {}),
        ({"prompt": "Hi", "response": "Yes?"}, {}),
        (
            {"instruction": "Hi", "input": "", "output": "Yes?"},
            {"columns": {"prompt": "instruction", "context": "input", "response": "output"}},
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}]},
            {
                "columns": {"messages": "conversations", "role": "from", "content": "value"},
                "roles": {"human": "user", "gpt": "assistant"},
            },
        ),
    ],
)
def test_the_usual_forms_of_a_conversation_are_one(record: Any, read: Mapping[str, Any]) -> None:
    assert one(record, **read) == ([("user", "Hi"), ("assistant", "Yes?")], "")


def test_context_and_system_are_put_where_they_are_read() -> None:
    record = {"prompt": "Sum up.", "context": "A text.", "response": "Text.", "system": "Be brief."}
    assert one(record)[0] == [("system", "Be brief."), ("user", "Sum up.\n\nA text."), ("assistant", "Text.")]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"messages": []}, "no_messages"),
        ({"messages": "Hi"}, "no_messages"),
        ({"messages": [{"role": "user"}]}, "no_messages"),
        ({"messages": [{"role": "user", "content": None}]}, "no_messages"),
        ({"prompt": "Hi"}, "no_messages"),
        ({"text": "Hi"}, "no_messages"),
        (3, "no_messages"),
        ({"messages": [{"role": "gpt", "content": "Hi"}]}, "unknown_role"),
    ],
)
def test_what_is_no_conversation_is_counted_or_stops(record: Any, problem: str) -> None:
    assert one(record) == ([], problem)
    with pytest.raises(DataError, match=problem):
        one(record, on_error=OnError.STOP)


PAIR = ([("user", "Hi"), ("chosen", "Yes?"), ("rejected", "No.")], "")
NO = {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Hi", "chosen": "Yes?", "rejected": "No."},
        {"prompt": HI[:1], "chosen": HI[1:], "rejected": [NO]},
        {"prompt": HI[:1], "chosen": HI[1], "rejected": NO},
        {"prompt": HI[:1], "chosen": HI, "rejected": [*HI[:1], NO]},
        {"prompt": "Hi", "chosen": HI, "rejected": [*HI[:1], NO]},
        {"chosen": HI, "rejected": [*HI[:1], NO]},
    ],
)
def test_the_usual_forms_of_a_pair_are_one(record: Any) -> None:
    assert one(record, **PAIRS) == PAIR


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Hi", "chosen": "Yes?"},
        {"chosen": "Yes?", "rejected": "No."},
        {"chosen": HI, "rejected": [{"role": "user", "content": "Ho"}, NO]},
        {"prompt": "Ho", "chosen": HI, "rejected": [NO]},
        {"prompt": "Hi", "chosen": HI[:1], "rejected": [NO]},
    ],
)
def test_a_pair_without_one_prompt_and_two_answers_is_none(record: Any) -> None:
    assert one(record, **PAIRS) == ([], "no_messages")


def test_yaml_json_and_tables_hold_conversations_too(tmp_path: Path) -> None:
    wanted = [([("user", "yes"), ("assistant", "1963")], "")]
    yaml = b"categories: [trivia]\nconversations:\n- - yes\n  - 1963\n"
    assert found(yaml, "a.yml", records="conversations") == wanted
    whole = {"conversations": [["yes", "1963"]]}
    assert found(json.dumps(whole).encode(), "a.json", records="conversations") == wanted
    assert found(b"prompt,response,other\nyes,1963,x\n", "a.csv") == wanted
    talk = [{"role": "user", "content": "yes"}, {"role": "assistant", "content": "1963"}]
    pq.write_table(pa.table({"messages": [talk], "id": [1]}), tmp_path / "a.parquet")
    assert found((tmp_path / "a.parquet").read_bytes(), "a.parquet") == wanted
    with pytest.raises(
        DataError, match=r"has the columns other, not messages or prompt or .*; set read\.text_field, or read\.columns"
    ):
        found(b"other\nx\n", "a.csv")


def test_a_yaml_that_grows_without_end_or_is_none_is_unreadable() -> None:
    for content in (b"a: &a [x]\nb: [*a, *a]\n", b"- [", b"[" * 300 + b"]" * 300):
        assert found(content, "a.yml") == [([], "unreadable_yaml")]


def test_a_file_without_records_and_names_for_nothing_are_refused() -> None:
    with pytest.raises(DataError, match=r"a\.txt holds no records, so no conversations"):
        found(b"Hi", "a.txt")
    with pytest.raises(ConfigError, match=r"read\.columns and read\.roles are of conversations"):
        ReadConfig(columns={"prompt": "x"})
    with pytest.raises(ConfigError, match="have 'human'"):
        ReadConfig(form=Form.CONVERSATIONS, roles={"user": "human"})


def config(**fields: Any) -> CleanConfig:
    passing = FilterConfig(min_chars=0, min_words=0)
    return CleanConfig(**{"seed": 1, "heldout_permille": 0, "filters": passing, **fields})


def judged(messages: list[Message], form: Form = Form.CONVERSATIONS, **fields: Any) -> tuple[str, list[Message]]:
    row = judge_chat("one", Raw(text_of(messages), "a"), form, config=config(**fields))
    assert row.size == len(row.text.encode())
    return row.reason, messages_of(row.text)


def test_every_message_is_brought_into_its_normal_form_and_masked_by_itself() -> None:
    messages = [Message("user", "\n\nmail  me \r\nat ann@corp.com\n"), Message("assistant", "bob@corp.com\x07?")]
    reason, cleaned = judged(messages, mask=MaskConfig(email=True))
    assert reason == ""
    assert cleaned == [
        Message("user", "mail  me\nat |||EMAIL_ADDRESS|||"),
        Message("assistant", "|||EMAIL_ADDRESS|||?"),
    ]
    row = judge_chat("one", Raw(text_of(messages), "a"), Form.CONVERSATIONS, config=config(mask=MaskConfig(email=True)))
    assert row.masked == {"email": 2}


@pytest.mark.parametrize(
    ("spoken", "form", "reason"),
    [
        ("user:Hi assistant:Yes", Form.CONVERSATIONS, ""),
        ("system:Be user:Hi user:Ho assistant:Yes tool:4 assistant:Four user:Bye", Form.CONVERSATIONS, ""),
        ("user:Hi assistant:", Form.CONVERSATIONS, "empty_message"),
        ("assistant:Yes user:Hi", Form.CONVERSATIONS, "roles_out_of_order"),
        ("user:Hi system:Be assistant:Yes", Form.CONVERSATIONS, "roles_out_of_order"),
        ("system:Be", Form.CONVERSATIONS, "roles_out_of_order"),
        ("user:Hi user:Ho", Form.CONVERSATIONS, "no_answer"),
        ("user:Hi chosen:Yes rejected:No", Form.PAIRS, ""),
        ("user:Hi assistant:Yes chosen:Yes rejected:No", Form.PAIRS, "roles_out_of_order"),
        ("system:Be chosen:Yes rejected:No", Form.PAIRS, "roles_out_of_order"),
        ("user:Hi chosen:Yes rejected:Yes", Form.PAIRS, "same_answers"),
    ],
)
def test_a_conversation_is_dropped_for_what_it_lacks(spoken: str, form: Form, reason: str) -> None:
    messages = [Message(*part.split(":")) for part in spoken.split()]
    assert judged(messages, form)[0] == reason


def test_filters_look_at_what_is_said_and_at_no_role() -> None:
    messages = [Message("user", "One two"), Message("assistant", "three four")]
    assert judged(messages, filters=FilterConfig(min_chars=0, min_words=4))[0] == ""
    assert judged(messages, filters=FilterConfig(min_chars=0, min_words=5))[0] == "too_few_words"
    assert judged(messages, filters=FilterConfig(min_chars=18, min_words=0))[0] == ""
    assert judged(messages, filters=FilterConfig(min_chars=19, min_words=0))[0] == "too_few_chars"


@pytest.mark.parametrize("step", sorted(REFUSED))
def test_a_step_that_is_made_for_pages_is_refused_for_conversations_alone(step: str) -> None:
    on = config()
    getattr(on, step).is_on = True
    chat = Source(name="chat", is_archive=False, read=ReadConfig(form=Form.CONVERSATIONS), files=[])
    text = Source(name="text", is_archive=False, read=ReadConfig(), files=[])
    check_forms([text], on)
    with pytest.raises(ConfigError, match=rf"clean\.{step} is on, but source chat holds conversations"):
        check_forms([text, chat], on)
