"""Verb verify: holds a corpus against its manifest, in one line a check and one a failure.

usage: python -m data verify DIR [--sample N] [--seed N] [--root HEX]

DIR is a run's folder, a bundle or its folder `data/`, or a folder with manifest.json and shards. Without --sample every
byte is read. With it N random leaves of the shards are (a leaf is 1 MiB), beside all that is small; the seed that drew
them is printed, and --seed draws them again. --root says which corpus you expect: everything else a forger could have
made to agree. Ends with exit code 66 if anything is not as the manifest says.
"""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from core.arguments import Parser
from core.errors import ConfigError, DataError
from data.corpus.checks import CHECKS, Asked, Check, Seen
from data.corpus.places import Corpus, find_corpus

USAGE = "python -m data verify DIR [--sample N] [--seed N] [--root HEX]"
SEED_BITS = 32


def main(arguments: list[str]) -> None:
    """Run the verb. Raises DataError, after all lines, if a check failed."""
    parser = Parser(USAGE)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--root", default="")
    given = parser.parse_args(arguments)
    if given.sample < 0:
        raise ConfigError(f"--sample is {given.sample}; give how many leaves to read, at least 1")
    seed = secrets.randbits(SEED_BITS) if given.seed is None else given.seed
    asked = Asked(sample=given.sample, seed=seed, root=given.root)
    failures = 0
    for line in report(find_corpus(given.folder), asked):
        failures += line.startswith("FAIL")
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    if failures:
        raise DataError(f"{given.folder} is not what its manifest says, in {failures} places; they are named above")


def report(corpus: Corpus, asked: Asked) -> Iterator[str]:
    """A line a failure, or one that says what a check saw."""
    for check in CHECKS:
        seen, name = Seen(), check.__name__
        flaws = list(_flaws(check, corpus, asked, seen))
        yield from (f"FAIL {name}: {flaw}" for flaw in flaws)
        if not flaws:
            yield f"ok   {name}: {seen.text}"


def _flaws(check: Check, corpus: Corpus, asked: Asked, seen: Seen) -> Iterator[str]:
    """A check's flaws. A manifest may hold anything, so what cannot be read is a flaw too, never a traceback."""
    try:
        yield from check(corpus, asked, seen)
    except (DataError, OSError) as error:
        yield str(error)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        yield f"the corpus is malformed: {type(error).__name__} {error}"
