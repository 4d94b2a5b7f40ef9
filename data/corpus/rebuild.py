"""Verb rebuild: makes a corpus again from its sources, by its manifest alone, and compares every root.

usage: python -m data rebuild MANIFEST [--out DIR] [--files DIR] [key=value ...]

Everything is fetched anew into DIR (by default `runs/rebuilt-ROOT` in the checkout; a second call goes on there). What
is on nobody's server (sources that are local files, evaluation sets, a tokenizer or shards that were taken over) is
looked for by its SHA-256 below --files. Overrides are for placement, such as data.workers=8.

Ends with 0 if every root is the same, 65 if one differs, 66 if a source is gone: then all sources are asked, so that
the report names every one that is. Other code or packages than the manifest's are said, and no failure by themselves.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from core.arguments import Parser
from core.artifact import Artifact, current
from core.codetree import ROOT, code_files, code_hash
from core.errors import ConfigError, DataError, DeterministicError, RetryError
from data.__main__ import VERBS
from data.corpus.compare import Difference, compare
from data.corpus.environment import environment
from data.corpus.localfiles import Library
from data.corpus.manifest import INPUTS, STAGE, read_manifest
from data.corpus.places import find_corpus, is_pointer
from data.corpus.redone import redone_recipe, write_recipe
from data.corpus.roots import CORPUS, PARTS, with_corpus

USAGE = "python -m data rebuild MANIFEST [--out DIR] [--files DIR] [key=value ...]"
ROOT_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Where a rebuild works: its folder, the local files, and overrides of placement."""

    out: Path
    library: Library
    overrides: Sequence[str]

    def run(self, verb: str, recipe: Path) -> None:
        """Run a verb of data/ on a recipe; what it writes to standard output is progress here."""
        module, _, function = VERBS[verb].target.partition(":")
        with redirect_stdout(sys.stderr):
            getattr(import_module(module), function)([str(recipe), *self.overrides])


def main(arguments: list[str]) -> None:
    """Run the verb: a line a root. Raises DeterministicError if one differs, DataError if a source is gone."""
    parser = Parser(USAGE)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--files", type=Path)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    strange = [text for text in given.overrides if "=" not in text]
    if strange:
        raise ConfigError(f"{strange[0]!r} is not of the form key=value; usage: {USAGE}")
    manifest = open_manifest(given.manifest)
    out = given.out or ROOT / "runs" / f"rebuilt-{manifest['roots'][CORPUS][:ROOT_DIGITS]}"
    work = Work(out=out.absolute(), library=Library(given.files), overrides=given.overrides)
    for note in other_surroundings(manifest):
        _say(f"note: {note}")
    different = []
    for difference in rebuild(manifest, work):
        _say(str(difference))
        different += [difference.part] if difference.found != difference.wanted else []
    if different:
        raise DeterministicError(
            f"the rebuilt corpus in {work.out} differs in {', '.join(different)}, first in {different[0]}; the lines "
            "above say where, and with which other code or packages it was made"
        )


def open_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a file, or of the corpus in a folder. Raises DataError if there is none."""
    if path.is_dir():
        return dict(find_corpus(path).manifest)
    return dict(find_corpus(path.parent).manifest) if is_pointer(path) else read_manifest(path)


def other_surroundings(manifest: Mapping[str, Any]) -> Iterator[str]:
    """How code and environment here differ from the manifest's."""
    if manifest["code"]["sha256"] != code_hash("data"):
        mine, theirs = code_files("data"), manifest["code"]["files"]
        names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        yield f"this is other code than the manifest's, in {len(names)} files, {', '.join(names[:5])} among them"
    here, there = environment(), manifest["environment"]
    for name in ("python", "unicode"):
        if here[name] != there[name]:
            yield f"{name} is {here[name]} here, {there[name]} in the manifest"
    for name in sorted(here["packages"].keys() | there["packages"].keys()):
        mine, theirs = here["packages"].get(name, "not there"), there["packages"].get(name, "not there")
        if mine != theirs:
            yield f"package {name} is {mine} here, {theirs} in the manifest"
    for name, model in there["models"].items():
        if here["models"].get(name) != model:
            yield f"the model of package {name} is another here than in the manifest"


def rebuild(manifest: Mapping[str, Any], work: Work) -> Iterator[Difference]:
    """Make the corpus again and compare part by part, as soon as each is there.

    Raises DataError if a source is gone, after all have been asked; RetryError if one could not be reached.
    """
    work.out.mkdir(parents=True, exist_ok=True)
    recipe = fetch_all(manifest, work)
    made: dict[str, Artifact] = {"fetch": current(work.out, "fetch")}
    found: dict[str, str] = {}
    for stage in (*INPUTS, STAGE):
        if stage not in made:
            work.run(stage, recipe)
            made[stage] = current(work.out, stage)
        for difference in compare(stage, made[stage].folder, manifest):
            found[difference.part] = difference.found
            yield difference
    assert found.keys() == set(PARTS), "a part was not compared"
    yield Difference(part=CORPUS, found=with_corpus(found)[CORPUS], wanted=manifest["roots"][CORPUS])


def fetch_all(manifest: Mapping[str, Any], work: Work) -> Path:
    """Fetch all sources and return the recipe of the rebuild. If that fails, every source is asked by itself."""
    whole = redone_recipe(manifest, out=work.out, library=work.library)
    recipe = write_recipe(work.out / "recipe.yaml", whole.recipe)
    gone: dict[str, str] = dict(whole.missing)
    if not gone:
        try:
            work.run("fetch", recipe)
            return recipe
        except (DataError, RetryError) as error:
            failure = error
    passing = []
    for item in whole.recipe["sources"]["items"]:
        if item["name"] in gone:
            continue
        alone = {**whole.recipe, "sources": {**whole.recipe["sources"], "items": [item]}}
        alone["run"] = {**whole.recipe["run"], "out": str(work.out / "asked")}
        try:
            work.run("fetch", write_recipe(work.out / "asked.yaml", alone))
        except DataError as error:
            gone[item["name"]] = str(error)
        except RetryError as error:
            passing.append(item["name"])
            _say(f"out of reach: {error}")
    for name, reason in gone.items():
        _say(f"gone: {name}: {reason.removeprefix(f'source {name}: ')}")
    if gone:
        raise DataError(f"the corpus cannot be rebuilt: {len(gone)} of what it is made of is gone: {', '.join(gone)}")
    if passing:
        raise RetryError(f"{', '.join(passing)} could not be reached; the same command goes on in {work.out}")
    raise failure


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
