"""The command line of every folder: `python -m FOLDER VERB ...`; `--help` behind a verb tells what it takes.

Results go to standard output, everything else to standard error. A ProjectError ends the process with one line and
its exit code; anything else is our bug and keeps its traceback.
"""

import importlib
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

from core.codetree import check_code_root
from core.errors import ConfigError, Preempted, ProjectError
from core.notes import leave_exit, obey_launcher

RECIPE = "RECIPE [key=value ...]"
HELP = ("-h", "--help")
# What every folder's arguments of these names are.
COMMON = {
    "RECIPE": "the name of a file in conf/, or the path of a YAML file",
    "key=value": "a field of the recipe and its value, as in train.steps=40; python -m launch fields prints all fields",
}
EXIT_CODES = (
    "exit codes: 0 done, 64 your input, 65 would fail again, 66 bad or missing data, 75 try again, 143 stopped, "
    "1 our bug"
)
_ending: list[bool] = []


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: what it does in one line, and where its function is: `folder.module:function`, imported when used.

    The function takes the arguments after the verb: those of `form`, in which options that are needed stand too.
    `options` says of every other option, and of the arguments that COMMON does not know, what it is and its default.
    """

    target: str
    help: str
    form: str = RECIPE
    options: Mapping[str, str] = field(default_factory=dict)
    exits: str = EXIT_CODES


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
        _end(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        # Whoever read the output has had enough, as in `... | head`; what is left must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _end(0)


def end_at_once() -> None:
    """Have this process end without Python's own end, since threads that are not Python's may abort it there."""
    _ending.append(True)


def _end(code: int) -> NoReturn:
    if _ending:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def recipe_and_overrides(arguments: Sequence[str], usage: str) -> tuple[str, list[str]]:
    """Split `RECIPE [key=value ...]`. Raises ConfigError with the usage if it has another form."""
    told = f"usage: {usage} {RECIPE}; --help tells all that it takes"
    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        raise ConfigError(f"no recipe given; {told}")
    strange = [text for text in arguments[1:] if "=" not in text]
    if strange:
        raise ConfigError(f"{strange[0]!r} is not of the form key=value; {told}")
    return arguments[0], list(arguments[1:])


def _run(folder: str, verbs: Mapping[str, Verb], arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in (*HELP, "help"):
        print(_help(folder, verbs))
        return
    if arguments[0] not in verbs:
        raise ConfigError(f"python -m {folder} has no verb {arguments[0]!r}; it has {', '.join(verbs)}")
    if any(word in HELP for word in arguments[1:]):
        print(verb_help(folder, arguments[0], verbs[arguments[0]]))
        return
    module, _, function = verbs[arguments[0]].target.partition(":")
    getattr(importlib.import_module(module), function)(list(arguments[1:]))


def _help(folder: str, verbs: Mapping[str, Verb]) -> str:
    width = max(map(len, verbs))
    rows = [f"  {name:<{width}}  {verb.help}\n  {'':<{width}}  {_form(verb)}".rstrip() for name, verb in verbs.items()]
    return "\n".join([f"usage: python -m {folder} VERB ...; python -m {folder} VERB --help tells of one", "", *rows])


def verb_help(folder: str, name: str, verb: Verb) -> str:
    """What a verb takes, each argument and option with its meaning, and how it ends."""
    told = {word: text for word, text in COMMON.items() if word in verb.form} | dict(verb.options)
    width = max(map(len, told), default=0)
    rows = [f"  {word:<{width}}  {text}" for word, text in told.items()]
    usage = f"usage: python -m {folder} {name} {_form(verb)}".rstrip()
    return "\n".join([usage, "", verb.help, *([""] if rows else []), *rows, "", verb.exits])


def _form(verb: Verb) -> str:
    """The arguments in their order, then the options that may be left out."""
    given = verb.form.split()
    extra = [f"[{option}]" for option in verb.options if option.startswith("--") and option.split()[0] not in given]
    return " ".join([verb.form, *extra]).strip()


def _is_reader_gone() -> bool:
    """Whether nobody reads standard output any more; else it was another pipe that broke."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Preempted("stopped by SIGTERM; everything committed is kept, run the same command again to go on")
