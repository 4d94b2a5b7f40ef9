"""Console lines in a bundle's witness: as they were last drawn, without this machine's names or credentials."""

import socket
from pathlib import Path

import pytest

from core.codetree import ROOT
from release.console import clean, cleaned, console_logs, words_of


def test_bars_are_left_as_they_were_last_drawn_and_empty_lines_go(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(b"\r\x1b[K[#  ] 1/3\r\x1b[K[###] 3/3\n\n\x1b[31mred\x1b[0m\nplain\n")
    assert cleaned(path, out=tmp_path) == b"[###] 3/3\nred\nplain\n"


def test_folders_and_the_name_of_this_machine_become_words(tmp_path: Path) -> None:
    line = f"{tmp_path}/train-1 by {ROOT}/train on {socket.gethostname()} in {Path.home()}/x"
    assert clean(line, words_of(tmp_path)) == "RUN/train-1 by CHECKOUT/train on HOST in HOME/x"


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("get https://me:word@host/x", "get https://[removed]@host/x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [removed]"),
        ("token=abcdef12 loss 5.1", "token=[removed] loss 5.1"),
        ("HF hf_abcdefgh12345678", "HF [removed]"),
        ("password: none here, api_key=xyz", "password: none here, api_key=[removed]"),
        ("4065 tokens, loss: 5.1", "4065 tokens, loss: 5.1"),
    ],
)
def test_what_looks_like_a_credential_is_taken_out(line: str, left: str) -> None:
    assert clean(line, {}) == left


def test_only_kept_output_is_taken(tmp_path: Path) -> None:
    assert console_logs(tmp_path) == {}
    (tmp_path / "stdout").mkdir()
    (tmp_path / "stdout/train.log").touch()
    (tmp_path / "stdout/other.txt").touch()
    assert list(console_logs(tmp_path)) == ["stdout/train.log"]
