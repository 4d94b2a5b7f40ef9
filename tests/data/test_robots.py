import pytest

from data.sources.robots import parse_robots

TEXT = """\
# a comment
User-agent: other
Disallow: /

User-agent: Wholegrain
User-agent: *
Disallow: /private   # and what is below
Allow: /private/open
Disallow: /*.zip$
Crawl-delay: 2.5
Disallow:
"""


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/", True),
        ("/private", False),
        ("/private/a", False),
        ("/private/open/a", True),
        ("/a.zip", False),
        ("/a.zip?x", True),
        ("/%70rivate", False),
    ],
)
def test_the_longest_rule_that_matches_decides(path: str, is_allowed: bool) -> None:
    assert parse_robots(TEXT, agent="wholegrain").is_allowed(path) is is_allowed


def test_a_program_heeds_its_own_group_and_else_the_one_for_all() -> None:
    assert not parse_robots(TEXT, agent="other").is_allowed("/a")
    assert not parse_robots(TEXT, agent="third").is_allowed("/private")
    assert parse_robots("", agent="x").is_allowed("/private")
    assert parse_robots(TEXT, agent="wholegrain").delay_s == 2.5
    assert parse_robots("User-agent: *\nDisallow: /a\nAllow: /a", agent="x").is_allowed("/a")
