"""Cuts the lines of a txt file into paragraphs, which blank lines separate, and joins these to sections."""

import re
from collections.abc import Iterator

from core.errors import DataError
from data.reading.compression import too_large

Lines = Iterator[tuple[int, str, bool]]
Paragraph = tuple[str, int, bool]


def whole(lines: Lines, *, name: str, most_chars: int) -> Iterator[Paragraph]:
    """All lines as one: text, number of the first line (or of the first bad one), validity."""
    content = _Held(name, most_chars)
    for line in lines:
        content.add(line)
    if content.lines:
        yield content.join()


def paragraphs(lines: Lines, *, name: str, most_chars: int) -> Iterator[Paragraph]:
    """Runs of lines that are not blank, as `whole` gives them."""
    held = _Held(name, most_chars)
    for line in lines:
        if line[1].strip():
            held.add(line)
        elif held.lines:
            yield held.join()
            held = _Held(name, most_chars)
    if held.lines:
        yield held.join()


class _Held:
    """Lines that will be one text. Raises DataError when they have more than `most_chars` characters."""

    def __init__(self, name: str, most_chars: int) -> None:
        self.lines: list[str] = []
        self._name, self._most_chars = name, most_chars
        self._chars = self._first = self._bad = 0

    def add(self, line: tuple[int, str, bool]) -> None:
        """Hold one more line."""
        number, text, is_utf8 = line
        self.lines.append(text)
        self._first = self._first or number
        self._bad = self._bad or (0 if is_utf8 else number)
        self._chars += len(text) + 1
        if self._chars > self._most_chars:
            raise DataError(too_large(f"{self._name} from line {self._first} on", self._most_chars))

    def join(self) -> Paragraph:
        """The text, the number of the first line (or of the first bad one), and whether all were valid."""
        return "\n".join(self.lines), self._bad or self._first, not self._bad


def sections(found: Iterator[Paragraph], *, heading: re.Pattern[str], section_chars: int) -> Iterator[Paragraph]:
    """Join paragraphs until the next heading or until the size is reached; headings in a row stay together."""
    held: list[Paragraph] = []
    chars, has_body = 0, False
    for paragraph in found:
        is_heading = heading.match(paragraph[0]) is not None
        if held and ((is_heading and has_body) or chars + len(paragraph[0]) > section_chars):
            yield _gather(held)
            held, chars, has_body = [], 0, False
        held.append(paragraph)
        chars += len(paragraph[0]) + 2
        has_body = has_body or not is_heading
    if held:
        yield _gather(held)


def _gather(paragraphs: list[Paragraph]) -> Paragraph:
    bad = next((number for _, number, is_utf8 in paragraphs if not is_utf8), None)
    return "\n\n".join(text for text, _, _ in paragraphs), bad or paragraphs[0][1], bad is None
