"""Command-line arguments that are not of the form RECIPE key=value."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from core.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Parses arguments; what it refuses is a ConfigError that shows the usage."""

    def __init__(self, usage: str) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self._said = usage

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise ConfigError(f"{message}; usage: {self._said}")


def take(
    arguments: Sequence[str], *, values: Sequence[str] = (), flags: Sequence[str] = (), needed: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """The options among the arguments, and the rest: a recipe and its overrides, say.

    `values` and `needed` are options with a value, flags have the value "yes". Raises ConfigError on a wrong one, or if
    one that is needed is missing.
    """
    known = [*values, *needed]
    found: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if word in flags:
            found[word] = "yes"
        elif name in known and (equals or waiting):
            found[name] = value if equals else waiting.pop(0)
        elif word.startswith("--"):
            told = ", ".join([*(f"{one} VALUE" for one in known), *flags])
            raise ConfigError(f"option {word} is not known or lacks its value; there are {told}")
        else:
            rest.append(word)
    missing = [name for name in needed if not found.get(name)]
    if missing:
        raise ConfigError(f"this verb needs {', '.join(missing)}; give each with its value")
    return found, rest
