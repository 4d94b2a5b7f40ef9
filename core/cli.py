"""The command line of every folder: `python -m FOLDER VERB RECIPE [key=value ...]`.

Results go to standard output, everything else to standard error. A ProjectError ends the process with one line and
its exit code; anything else is our bug and keeps its traceback.
"""

import importlib
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from core.codetree import check_code_root
from core.errors import ConfigError, Preempted, ProjectError
from core.notes import leave_exit, obey_launcher


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: what it does in one line, and where its function is: `folder.module:function`, imported when used.

    The function takes the arguments after the verb.
    """

    target: str
    help: str


def main(folder: str, verbs: Mapping[str, Verb]) -> NoReturn:
    """Run the verb that the command line names, and exit."""
    try:
        obey_launcher()
        signal.signal(signal.SIGTERM, _stop)
        check_code_root()
        _run(folder, verbs, sys.argv[1:])
        sys.stdout.flush()
        leave_exit(0, "done")
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        leave_exit(error.exit_code, str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        # Whoever read the output has had enough, as in `... | head`; what is left must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def recipe_and_overrides(arguments: Sequence[str], usage: str) -> tuple[str, list[str]]:
    """Split `RECIPE [key=value ...]`. Raises ConfigError with the usage if it has another form."""
    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        raise ConfigError(f"no recipe given; usage: {usage} RECIPE [key=value ...]")
    strange = [text for text in arguments[1:] if "=" not in text]
    if strange:
        raise ConfigError(f"{strange[0]!r} is not of the form key=value; usage: {usage} RECIPE [key=value ...]")
    return arguments[0], list(arguments[1:])


def _run(folder: str, verbs: Mapping[str, Verb], arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(folder, verbs))
        return
    if arguments[0] not in verbs:
        raise ConfigError(f"python -m {folder} has no verb {arguments[0]!r}; it has {', '.join(verbs)}")
    module, _, function = verbs[arguments[0]].target.partition(":")
    getattr(importlib.import_module(module), function)(list(arguments[1:]))


def _help(folder: str, verbs: Mapping[str, Verb]) -> str:
    width = max(map(len, verbs))
    rows = [f"  {name:<{width}}  {verb.help}" for name, verb in verbs.items()]
    return "\n".join([f"usage: python -m {folder} VERB RECIPE [key=value ...]", "", *rows])


def _is_reader_gone() -> bool:
    """Whether nobody reads standard output any more; else it was another pipe that broke."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Preempted("stopped by SIGTERM; everything committed is kept, run the same command again to go on")
