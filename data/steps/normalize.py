"""Brings a text into the one form in which it is compared, counted and trained on.

In this order:
1. lone surrogates (JSON escapes can write them; UTF-8 cannot) become U+FFFD;
2. CR LF, CR, NEL, VT, FF, U+2028 and U+2029 become a line feed;
3. control characters (Cc) other than line feed and tab are removed, and so are the invisible U+FEFF (byte order mark),
   U+2060 (word joiner), U+00AD (soft hyphen) and the direction marks U+200E and U+200F;
4. U+2581 becomes a space: SentencePiece writes spaces with it, so it could never come back from token ids;
5. Unicode NFC (UAX 15), by the tables of the Python that runs;
6. spaces and tabs at the ends of lines are removed, more than one blank line in a row becomes one, and blank lines at
   both ends of the text are removed.
Nothing else changes: no-break spaces, typographic quotes and indentation are part of the text.
"""

import re
import unicodedata

UNICODE_VERSION = unicodedata.unidata_version

_SURROGATES = re.compile("[\ud800-\udfff]")
_NEWLINES = re.compile("\r\n|[\r\x85\x0b\x0c\u2028\u2029]")
_INVISIBLE = "\ufeff\u2060\u00ad\u200e\u200f"
_CONTROLS = "".join(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t")
_REPLACED = str.maketrans({**dict.fromkeys(_CONTROLS + _INVISIBLE), "\u2581": " "})
# Only from the start of a run, and without giving back: a run in mid-line would else cost the square of its length.
_LINE_ENDS = re.compile("(?<![ \t])[ \t]++$", re.MULTILINE)
_BLANK_LINES = re.compile("\n{3,}")


def normalize(text: str) -> str:
    """The normal form of a text; normalizing it again changes nothing."""
    text = _NEWLINES.sub("\n", _SURROGATES.sub("\ufffd", text))
    text = unicodedata.normalize("NFC", text.translate(_REPLACED))
    return _BLANK_LINES.sub("\n\n", _LINE_ENDS.sub("", text)).strip("\n")
