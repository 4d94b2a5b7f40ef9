import codecs

import pytest

from core.errors import ConfigError, DataError
from data.reading.extract import OnError, Raw, ReadConfig
from data.reading.html import EXTRACTOR, MAX_DEPTH, as_html, decode_page, page_text, without_clones, xml_text
from tests.data.test_extract import PACKED, texts

PROSE = "A paragraph of the main text, long enough that a rule which looks for prose will not take it for a menu. " * 3
PAGE = f"""<!DOCTYPE html><html><head><title>t</title><style>p {{}}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/a">About</a></li></ul></nav>
<main><h1>Heading</h1><p>{PROSE}</p><pre>if a:
    b()</pre></main><script>alert("no")</script></body></html>"""
CHINESE = "汉字是世界上最古老的文字之一,已有六千多年的历史。" * 4


def text_of(page: str, *, is_boilerplate_removed: bool = False) -> str:
    text = page_text(page, is_boilerplate_removed=is_boilerplate_removed)
    assert text is not None
    return text


def test_a_page_keeps_its_blocks_and_leaves_out_scripts_and_styles() -> None:
    text = text_of(PAGE)
    assert "Heading" in text.splitlines() and "if a:\n    b()" in text
    assert "alert" not in text and "{}" not in text and "Home" in text


def test_elements_are_left_out_by_selector_and_nothing_else() -> None:
    page = "<p id='a'>one <a class='mark'>¶</a> two</p><ul class='x menu'><li>Prev</ul><div><p>three</p></div>"
    read = ReadConfig(left_out=[".menu", "a.mark", "body > footer"])
    assert [" ".join(raw.text.split()) for raw in texts(page.encode(), "a.html", read)] == ["one two three"]
    assert "Prev" in text_of(page) and "¶" in text_of(page)
    for strange in ("a[", "", "..x"):
        with pytest.raises(ConfigError, match="no CSS selector"):
            ReadConfig(left_out=[strange])


def test_boilerplate_removal_is_a_choice_of_the_recipe() -> None:
    kept = texts(PAGE.encode(), "a.html")
    main = texts(PAGE.encode(), "a.html", ReadConfig(is_boilerplate_removed=True))
    assert "Home" in kept[0].text and "Home" not in main[0].text
    assert "Heading" in main[0].text and PROSE.strip() in main[0].text
    assert EXTRACTOR.startswith("resiliparse 2.")


@pytest.mark.parametrize(
    "swallower",
    ["<title/>", '<script src="a.js"/>', '<style media="x" />', '<textarea rows="2"/>', '<iframe src="b"/>'],
)
def test_an_empty_element_of_xhtml_swallows_nothing(swallower: str) -> None:
    page = (
        f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body>{swallower}<p>after</p></body></html>'
    )
    assert text_of(page).strip() == "after"


def test_xhtml_is_rewritten_only_where_html_would_misread_it() -> None:
    assert as_html('<br/><a id="x"/><img alt="a>b" src=\'c\' /><p>1 / 2 /></p>') == (
        '<br/><a id="x"></a><img alt="a>b" src=\'c\' /><p>1 / 2 /></p>'
    )
    assert as_html("<p><![CDATA[a < b]]></p>") == "<p>a &lt; b</p>"


@pytest.mark.parametrize(
    ("content", "served_as"),
    [
        (CHINESE.encode(), ""),
        (codecs.BOM_UTF8 + CHINESE.encode(), "iso-8859-1"),
        (codecs.BOM_UTF16_LE + CHINESE.encode("utf-16-le"), ""),
        (CHINESE.encode("gb18030"), "GB2312"),
        (b'<meta charset="gbk">' + CHINESE.encode("gbk"), ""),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=big5">' + "漢字".encode("big5"), ""),
        (b'<?xml version="1.0" encoding="Shift_JIS"?>' + "日本語①".encode("cp932"), ""),
        (CHINESE.encode("gb18030"), ""),
    ],
)
def test_the_encoding_is_what_mark_server_page_or_bytes_say(content: bytes, served_as: str) -> None:
    page = decode_page(content, served_as=served_as)
    assert page is not None
    assert any(page.endswith(text) for text in (CHINESE, "漢字", "日本語①"))


def test_a_page_that_is_not_in_its_own_encoding_is_unreadable_and_never_guessed_at() -> None:
    bad = b'<meta charset="utf-8"><p>caf\xe9</p>'
    assert decode_page(bad) is None
    with pytest.raises(DataError, match=r"a\.html is unreadable \(unreadable_encoding\)"):
        texts(bad, "a.html")
    assert [raw.problem for raw in texts(bad, "a.html", ReadConfig(on_error=OnError.DROP))] == ["unreadable_encoding"]


def test_pages_and_xml_may_be_compressed() -> None:
    for ending, pack in PACKED:
        assert texts(pack(b"<p>one</p>"), f"a.html{ending}") == [Raw("one", "a.html")]
        assert texts(pack(b"<a><p>one</p></a>"), f"a.xml{ending}") == [Raw("one", "a.xml")]
        with pytest.raises(DataError, match="damaged"):
            texts(pack(PAGE.encode())[:-3], f"a.xhtml{ending}")


def test_xml_gives_a_paragraph_for_every_element_with_text_of_its_own() -> None:
    page = "<page><title>Help</title><s><p>Press <key>Ctrl</key>\n  now.</p><p/><list><item>a</item></list></s>"
    code = '<code xml:space="preserve">if a:\n  b</code></page>'
    assert xml_text((page + code).encode()) == "Help\n\nPress Ctrl now.\n\na\n\nif a:\n  b"
    assert xml_text('<?xml version="1.0" encoding="iso-8859-1"?><p>é</p>'.encode("latin-1")) == "é"


def test_elements_of_xml_are_left_out_by_name_and_what_stands_behind_them_stays() -> None:
    page = (
        '<page xmlns="http://projectmallard.org/1.0/"><credit><name>N</name><p>x</p></credit>'
        "<p><key>a</key> one <note>two</note> three<note>b</note>.</p><note>c</note></page>"
    )
    assert texts(page.encode(), "a.xml", ReadConfig(left_out=["credit", "note"])) == [Raw("a one three.", "a.xml")]
    assert texts(page.encode(), "a.xml")[0].text == "N\n\nx\n\na one two threeb.\n\nc"
    assert xml_text(b"<p><note>b</note>a</p>", left_out=["note"]) == "a"


def test_xml_that_is_not_well_formed_is_unreadable() -> None:
    with pytest.raises(DataError, match=r"a\.xml is unreadable \(unreadable_xml\)"):
        texts(b"<a><p>one</a>", "a.xml")
    dropped = texts(b"<a><p>one</a>", "a.xml", ReadConfig(on_error=OnError.DROP))
    assert dropped == [Raw("<a><p>one</a>", "a.xml", "unreadable_xml")]


def test_xhtml_named_xml_is_read_as_a_page() -> None:
    page = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>a&nbsp;b</body></html>'
    assert [raw.text.replace("\xa0", " ") for raw in texts(page, "a.xml")] == ["a b"]


def test_hostile_pages_cost_no_more_than_their_size() -> None:
    sections = "<![CDATA[" * 20_000
    assert as_html(sections) == sections
    assert as_html("<a " + "b='c' " * 20_000).startswith("<a b")
    assert xml_text(b"<a>" * 50_000 + b"x" + b"</a>" * 50_000) == "x"
    entities = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 10))
    assert xml_text(b'<!DOCTYPE a [<!ENTITY e0 "aaaaaaaaaa">' + entities + b"]><a>&e9;</a>") is None


@pytest.mark.parametrize("is_boilerplate_removed", [False, True])
def test_a_page_nested_deeper_than_a_browser_would_is_unreadable(is_boilerplate_removed: bool) -> None:
    def nested(depth: int) -> str:
        return "<html><body>" + "<div><p>text</p>" * (depth - 3) + "</div>" * (depth - 3) + "</body></html>"

    deep = ReadConfig(is_boilerplate_removed=is_boilerplate_removed, on_error=OnError.DROP)
    sound, *_ = texts(nested(MAX_DEPTH).encode(), "a.html", deep)
    assert (sound.text.count("text"), sound.problem) == (MAX_DEPTH - 3, "")
    page = nested(MAX_DEPTH + 1)
    assert texts(page.encode(), "a.html", deep) == [Raw(page, "a.html", "unreadable_nesting")]
    with pytest.raises(DataError, match=r"a\.html is unreadable \(unreadable_nesting\)"):
        texts(page.encode(), "a.html")
    # Not its size: a long page of the same elements side by side is read whole.
    assert text_of("<div><p>text</p></div>" * 20_000).count("text") == 20_000


def test_a_page_nested_a_hundred_thousand_deep_ends_before_it_is_extracted() -> None:
    assert page_text("<div>" * 100_000 + "x", is_boilerplate_removed=True) is None
    assert page_text("<ul><li>x" * 100_000, is_boilerplate_removed=False) is None


def test_formatting_left_open_is_not_opened_again_in_every_paragraph() -> None:
    opened = "".join(f"<font color={number}>" for number in range(400))
    page = "<p>" + opened + "<p>x" * 4000
    assert without_clones(page).count("<span ") == 400
    assert text_of(page).split() == ["x"] * 4000


def test_formatting_of_a_sound_page_is_left_as_it_is() -> None:
    page = "<p><b>bold</b> and <CODE>code</CODE>, <br><iframe></iframe><em\n>this</em></p>"
    assert without_clones(page) == page
    many = without_clones(page * 2000)
    assert many == "<p><span>bold</span> and <span>code</span>, <br><iframe></iframe><span\n>this</span></p>" * 2000
    assert text_of(page * 2000).split() == text_of(page).split() * 2000
