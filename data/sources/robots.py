"""Robots exclusion (RFC 9309): which addresses of a host a program may ask for, and how long it should pause.

The longest rule that matches decides, and of equal ones the one that allows. `Crawl-delay` is no part of the standard,
but is heeded.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

MAX_BYTES = 500 * 1024


@dataclass(slots=True)
class Robots:
    """What a robots.txt says to one program."""

    rules: list[tuple[str, bool]] = field(default_factory=list)
    delay_s: float = 0.0

    def is_allowed(self, path: str) -> bool:
        """Whether a path with its query may be asked for."""
        matching = [(len(rule), is_allowed) for rule, is_allowed in self.rules if _pattern(rule).match(unquote(path))]
        return max(matching)[1] if matching else True


def _pattern(rule: str) -> re.Pattern[str]:
    is_anchored = rule.endswith("$")
    parts = map(re.escape, unquote(rule.removesuffix("$")).split("*"))
    return re.compile(".*".join(parts) + ("$" if is_anchored else ""), re.S)


def parse_robots(text: str, *, agent: str) -> Robots:
    """The rules for a program: those of the groups that name it, else those for `*`."""
    groups: dict[str, Robots] = {}
    named: list[str] = []
    is_group_open = False
    for line in text[:MAX_BYTES].lstrip("\ufeff").splitlines():
        key, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        key = key.lower()
        if key == "user-agent":
            named = [*(named if is_group_open else []), value.lower()]
            groups.setdefault(value.lower(), Robots())
            is_group_open = True
        elif key in ("allow", "disallow", "crawl-delay"):
            is_group_open = False
            for name in named:
                _add(groups[name], key, value)
    return groups.get(agent.lower(), groups.get("*", Robots()))


def _add(group: Robots, key: str, value: str) -> None:
    if key == "crawl-delay":
        group.delay_s = float(value) if re.fullmatch(r"\d{1,4}(\.\d+)?", value) else group.delay_s
    elif value:
        group.rules.append((value, key == "allow"))
