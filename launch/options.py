"""Options of verbs that take more than a recipe: `--name VALUE`, and flags without a value."""

from collections.abc import Sequence

from core.errors import ConfigError


def take(
    arguments: Sequence[str], *, values: Sequence[str] = (), flags: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """The options among the arguments (a flag has the value "yes"), and the rest. Raises ConfigError on a wrong one."""
    found: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if word in flags:
            found[word] = "yes"
        elif name in values and (equals or waiting):
            found[name] = value if equals else waiting.pop(0)
        elif word.startswith("--"):
            known = ", ".join([*(f"{one} VALUE" for one in values), *flags])
            raise ConfigError(f"option {word} is not known or lacks its value; there are {known}")
        else:
            rest.append(word)
    return found, rest
