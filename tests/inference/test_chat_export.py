"""An exported tokenizer asks as training did."""

import json
from pathlib import Path

from data.chat import ASSISTANT, SYSTEM, USER, Message, ask, encode
from data.tokenizer import MODEL, Tokenizer, TokenizerConfig, train
from inference.huggingface import transformers, write_tokenizer

TALK = [Message(SYSTEM, "Be brief."), Message(USER, "Hello  there,\nyou </s>"), Message(ASSISTANT, "Yes?")]
LINES = [f"line {number} of a small corpus, hello there and yes".encode() for number in range(300)]


def write(folder: Path, *, chat: bool) -> Path:
    model = folder / "own.model"
    model.write_bytes(train(LINES, TokenizerConfig(vocab_size=340, chat=chat)))
    write_tokenizer(folder, model, max_seq_len=64)
    return folder


def test_the_template_of_an_export_gives_the_ids_of_training(tmp_path: Path) -> None:
    folder = write(tmp_path, chat=True)
    own = Tokenizer.open(folder / MODEL)
    theirs = transformers().AutoTokenizer.from_pretrained(folder)

    def rendered(messages: list[Message], *, is_asked: bool) -> list[int]:
        found = theirs.apply_chat_template(
            [message._asdict() for message in messages],
            add_generation_prompt=is_asked,
            tokenizer_kwargs={"split_special_tokens": False},
        )
        ids: list[int] = found["input_ids"]
        return ids

    plain = [TALK[0], Message(USER, "Hello  there,\nyou"), TALK[2]]
    assert rendered(plain, is_asked=False) == encode(plain, own).ids.tolist()[:-1]
    assert rendered(plain[:2], is_asked=True) == ask(plain[:2], own)
    # By default the text of a mark stays text, in what a user says as well.
    assert theirs("<|end|></s>")["input_ids"] == [own.bos_id, *own.encode("<|end|></s>")]


def test_a_tokenizer_without_special_tokens_has_no_template(tmp_path: Path) -> None:
    config = json.loads((write(tmp_path, chat=False) / "tokenizer_config.json").read_bytes())
    assert "chat_template" not in config
