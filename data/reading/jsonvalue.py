"""JSON and YAML that anyone may have written, as Python values.

The standard library's reader fails on deep nesting with an error that is no ValueError, at a depth that depends on how
deep the caller itself is; so we set our own limit, far above what records of text need.
"""

import json
import re
from typing import Any

MAX_DEPTH = 200
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# Few records nest deeper, and those that do are looked at bracket by bracket.
_USUAL_DEPTH = 8
# A string is one find, so that brackets in it do not count; one that is never closed is left to the reader.
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none or has more than MAX_DEPTH levels."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(text):
        raise ValueError(f"it has more than {MAX_DEPTH} levels")
    return json.loads(text)


def read_yaml(text: str) -> Any:
    """The value of a YAML text, every scalar as text: of `yes` and `1963` none is anything else here.

    Raises ValueError if it is none, has more than MAX_DEPTH levels, or names a value twice (aliases can grow without
    end).
    """
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                raise ValueError(f"it has an alias, or more than {MAX_DEPTH} levels")
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _is_too_deep(text: str) -> bool:
    brackets = text.encode("utf-8", errors="replace").translate(None, _NO_BRACKETS)
    for _ in range(_USUAL_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    depth = 0
    for mark in _MARKS.finditer(text) if brackets else ():
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
        if depth > MAX_DEPTH:
            return True
    return False
