"""The generated parts of README.md and MANIFEST.md say what the code and the golden files say."""

from core.codetree import ROOT
from release.pages import PAGES, PARTS, renew, stale_pages


def test_the_generated_parts_are_up_to_date() -> None:
    assert not stale_pages(), "run python -m release pages --write"


def test_every_generated_part_stands_on_a_page() -> None:
    pages = "".join((ROOT / name).read_text(encoding="utf-8") for name in PAGES)
    assert [name for name in PARTS if f"<!-- generated: {name} -->" not in pages] == []


def test_a_stale_part_is_replaced_and_the_rest_of_a_page_is_kept() -> None:
    page = "before\n<!-- generated: golden -->\nout of date\n<!-- end of generated: golden -->\nafter\n"
    renewed = renew(page)
    assert "out of date" not in renewed
    assert "trajectory_head" in renewed
    assert renewed.startswith("before\n<!-- generated: golden -->\n")
    assert renewed.endswith("<!-- end of generated: golden -->\nafter\n")
