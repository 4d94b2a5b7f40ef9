"""The text of web pages: HTML and XHTML by resiliparse, other XML by the paragraphs that its structure shows.

What the encoding of a page is, is asked in the order of the HTML standard: byte order mark, the server's word, the
page's own word, then UTF-8, and last a guess (uchardet) for pages that say nothing. A page that says what it is and is
not that, is unreadable: guessing then would put wrong letters in the place of one bad byte.

XHTML goes through the same parser as HTML, for which `<title/>` and `<script/>` are opening tags that swallow what
follows (measured with resiliparse 2.0.1: no text is left of such a page), and CDATA sections are comments. So both are
first written the way HTML understands.

Every option of resiliparse is given, so that its defaults decide nothing; its version does, and is in the stage's key.

Two things would let a page cost more than its size, whatever a clock says. Boilerplate removal and the indentation of
lists grow with the number of elements times their depth (measured: 19 s and 16 MB for pages of 400 and 120 kB), so a
page that is nested deeper than MAX_DEPTH, where Blink begins to flatten, is unreadable. And a parser of HTML opens the
formatting elements that were left open again in every later block (13.2.4.3; measured: 28 s and 6 GB for 76 kB), so
where they are too many they are read as `span`, which it does not: the text is the same, and so is, in 2,634 of 2,635
pages of manuals, what boilerplate removal leaves of it.
"""

import codecs
import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import CSSParserException, HTMLTree

EXTRACTOR = f"resiliparse {version('resiliparse')}"
HEAD_BYTES = 1024
MAX_DEPTH = 512
MAX_CLONES = 1_000_000
XHTML = "http://www.w3.org/1999/xhtml"
XML_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# What the web means by these names is more than Python's codecs of the same name know (WHATWG Encoding, section 4.2).
WIDER = {"shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs", "gbk": "gb18030"}

_DECLARED = re.compile(
    rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", re.I
)
_IS_PAGE = re.compile(rb"<!doctype\s+html|<html[\s>]|xmlns\s*=\s*[\"']" + re.escape(XHTML.encode()), re.I)
_IS_XHTML = re.compile(r"\s*<\?xml|<!doctype[^>]{0,200}?xhtml|" + re.escape(XHTML), re.I)
_VOID = "area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr"
_EMPTY_ELEMENT = re.compile(
    rf"<(?!(?:{_VOID})[\s/])([a-z][\w-]*)((?:\s+[^<>\"'/=\s]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'))?)*)\s*/>", re.I
)
_TOO_DEEP = " > ".join(["*"] * (MAX_DEPTH + 1))
_FORMATTING = "b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u"
_FORMATTING_START = re.compile(rf"<(?:{_FORMATTING})[\s/>]", re.I)
_FORMATTING_NAME = re.compile(rf"<(/?)(?:{_FORMATTING})(?=[\s/>])", re.I)


def is_page(content: bytes) -> bool:
    """Whether the beginning of a file says that it is HTML or XHTML, whatever it was served as."""
    return _IS_PAGE.search(content[:HEAD_BYTES]) is not None


def decode_page(content: bytes, *, served_as: str = "") -> str | None:
    """The characters of a page, or None if it is not in the encoding that it, or the server, says."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding)
    found = _DECLARED.search(content[:HEAD_BYTES])
    own = (found[1] or found[2]).decode() if found else ""
    # A page whose own word can be read by a search for ASCII is not in UTF-16 (HTML standard, 13.2.3.2).
    said = [name for name in (_known(served_as), _known(own).replace("utf-16-le", "utf-8")) if name]
    names = [*said, "utf-8"] if said else ["utf-8", _known(detect_encoding(content) or "")]
    return next((text for name in names if name and (text := _decoded(content, name)) is not None), None)


def _known(name: str) -> str:
    found = map_encoding_to_html5(name, fallback_utf8=False) if name else None
    return WIDER.get(found, found) if found else ""


def _decoded(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def is_selector(text: str) -> bool:
    """Whether a text is a CSS selector."""
    try:
        _select(HTMLTree.parse(""), text)
    except CSSParserException:
        return False
    return True


def _select(tree: HTMLTree, selector: str) -> bool:
    return tree.document is not None and tree.document.query_selector(selector) is not None


def page_text(page: str, *, is_boilerplate_removed: bool, left_out: Sequence[str] = ()) -> str | None:
    """The visible text of an HTML or XHTML page, its blocks on lines of their own; None if it is nested too deeply.

    `left_out` are CSS selectors of elements without whose text the page is read.
    """
    page = without_clones(as_html(page) if _IS_XHTML.search(page[:HEAD_BYTES]) else page)
    tree = HTMLTree.parse(page)
    if _select(tree, _TOO_DEEP):
        return None
    return extract_plain_text(
        tree,
        preserve_formatting=True,
        main_content=is_boilerplate_removed,
        list_bullets=True,
        alt_texts=False,
        links=False,
        form_fields=False,
        noscript=False,
        comments=True,
        post_meta=True,
        hidden_elements=False,
        skip_elements=[*left_out] or None,
    )


def without_clones(page: str) -> str:
    """A page of which a parser makes at most MAX_CLONES elements that are not in it."""
    tags = page.count("<")
    # Half of the tags at most are formatting elements, and each of them is opened again at most once a later tag.
    if tags * tags <= 4 * MAX_CLONES or len(_FORMATTING_START.findall(page)) * tags <= MAX_CLONES:
        return page
    return _FORMATTING_NAME.sub(r"<\1span", page)


def as_html(page: str) -> str:
    """An XHTML page as an HTML parser understands it: empty elements are closed, CDATA sections are text."""
    # Not by a pattern: where sections are opened and never closed it would look for every end in the whole page.
    before, *sections = page.split("<![CDATA[")
    return _EMPTY_ELEMENT.sub(r"<\1\2></\1>", before + "".join(map(_section, sections)))


def _section(part: str) -> str:
    """What follows the beginning of a CDATA section, the section itself as text."""
    inside, end, after = part.partition("]]>")
    return html.escape(inside, quote=False) + after if end else f"<![CDATA[{part}"


def xml_text(content: bytes, *, left_out: Sequence[str] = ()) -> str | None:
    """The text of an XML file, a paragraph for each outermost element with its own text; None if it is malformed.

    `left_out` are names of elements, without their namespaces, without whose text the file is read.
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError):
        return None
    for parent in list(root.iter()) if left_out else ():
        _take_out(parent, left_out)
    return "\n\n".join(_paragraphs(root))


def _take_out(parent: ElementTree.Element, names: Sequence[str]) -> None:
    """Take children with one of the names out of an element; what stands behind them stays."""
    kept: list[ElementTree.Element] = []
    for child in parent:
        if child.tag.rpartition("}")[2] not in names:
            kept.append(child)
        elif kept:
            kept[-1].tail = (kept[-1].tail or "") + (child.tail or "")
        else:
            parent.text = (parent.text or "") + (child.tail or "")
    parent[:] = kept


def _paragraphs(root: ElementTree.Element) -> Iterator[str]:
    """Texts of the outermost elements that have text of their own, in the order of the file."""
    waiting = [root]  # not by recursion: a file may be nested deeper than Python's stack
    while waiting:
        element = waiting.pop()
        own = [element.text, *(child.tail for child in element)]
        if not any(text and text.strip() for text in own):
            waiting += reversed(element)
            continue
        text = "".join(element.itertext())
        is_preserved = element.get(XML_SPACE) == "preserve"
        yield text.strip("\n") if is_preserved else " ".join(text.split())
