"""Mends text that was decoded by the wrong table: UTF-8 read as Latin-1 or Windows-1252, also twice.

The rules are those of ftfy 6.3.1 (Speer 2019, zenodo.2591652), of which only the mending of encodings is on: quotes,
ligatures, wide letters, entities and line ends stay as they are. Every option is given, so that its defaults decide
nothing; its version does, and is in the key of the stage that repairs.

It comes before the normal form (data/steps/normalize.py), which takes the control characters away that show what a
letter was. Each line is looked at on its own, so that one sound line with other scripts does not keep the rest of a
text from being mended. C1 control characters in a line of Latin-1 letters become what Windows-1252 means by them. Known
limits: what was lost on the way does not come back, and a manual that shows mojibake to explain it is mended as well.
"""

from dataclasses import dataclass
from importlib.metadata import version

from ftfy import TextFixerConfig, fix_encoding

_ENCODING_ONLY = TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_encoding=True,
    restore_byte_a0=True,
    replace_lossy_sequences=True,
    decode_inconsistent_utf8=True,
    fix_c1_controls=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    max_decode_length=1_000_000,
    explain=False,
)


@dataclass(kw_only=True, slots=True)
class RepairConfig:
    """Field `repair` of section `clean`: mends text in a wrong encoding, off unless `is_on`."""

    is_on: bool = False


def repair(text: str, config: RepairConfig) -> str:
    """The text with its encoding mended, line by line; the same text if nothing is wrong or the step is off."""
    if not config.is_on or text.isascii():
        return text
    return "\n".join(line if line.isascii() else fix_encoding(line, _ENCODING_ONLY) for line in text.split("\n"))


def repairer_version() -> str:
    """What decides the repairs beside our code."""
    return f"ftfy {version('ftfy')}"
