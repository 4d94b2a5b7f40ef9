"""Verb clean: raw documents in, document shards out.

Reads sections `clean` and `data` and the artifact `fetch`. Every raw document is normalized and filtered, of equal
texts one is kept, and a keyed hash of the text decides whether it is held out. Writes `train/<source>-00000.jsonl` ...,
`heldout/<source>.jsonl`, `dropped.jsonl` (key, source and reason of every dropped document), with
`data.keep_dropped` also `dropped/<source>.jsonl` with their texts, and `report.json`.

The work is a row of phases (data/cleaning/), each a step of data.engine whose tasks read what the phases before have
written below `.work`. No phase holds the corpus: what grows with it in memory is one of `clean.shards` buckets at most,
and what data/cleaning/near.py says of near-duplicates. Finished tasks are kept when a run is killed.

Nothing depends on the order of reading, on the number of workers, of parts or of buckets: a document is decided on by
its text alone, of equal texts the first by (source in the order of precedence, origin) survives, and what is written is
sorted by key. What came in is counted where it is read, what goes out in the written files, and all steps must agree.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.artifact import WITNESS, Facts, build, current, plan, verify_files
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load
from core.durable import sync_file, sync_folder, write_durably
from core.errors import RetryError
from core.hashing import canonical_json
from data.cleanconfig import CleanConfig
from data.cleaning.contamination import SearchBenchmarks, WeighEvidence, read_report
from data.cleaning.judge import Judge, buckets_for, parts_of
from data.cleaning.near import ChooseSurvivors, VerifyPairs, WriteBands
from data.cleaning.publish import DROPPED_TEXTS, ListDropped, WriteSource
from data.cleaning.repeated import CollectParts, FindRepeated, TakeOutLines
from data.cleaning.settle import Settle
from data.engine import NO_SPACE, Step, run_tasks
from data.engineconfig import EngineConfig, Executor
from data.report import DROPPED, HELDOUT, REPORT, TRAIN, Balance, Sieve, add_counts, checked_report
from data.sources.fetch import Source, open_sources
from data.steps.decontaminate import read_benchmark
from data.steps.language import model_version
from data.steps.repair import repairer_version

STAGE = "clean"
WORK = ".work"
# Starting processes takes seconds; a phase over less than this is done sooner without them.
SMALL_BYTES = 64 << 20
# Whose versions may change what is written, beside Python's tables of Unicode.
LIBRARIES = ("ftfy", "numpy", "py3langid", "pyarrow", "resiliparse", "xxhash")


def main(arguments: list[str]) -> None:
    """Run the verb: make or find the clean artifact and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data clean")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "clean", CleanConfig, overrides)
    engine = load(recipe, "data", EngineConfig, overrides)
    fetched = current(run.inputs_folder, "fetch")
    verify_files(fetched)
    decided = identity(config)
    decided |= {"language_model": model_version()} if config.language.expected else {}
    decided |= {"repairer": repairer_version()} if config.repair.is_on else {}
    decided |= {"keep_dropped": True} if engine.keep_dropped else {}
    wanted = plan(STAGE, folder="data", out=run.out_folder, config=decided, inputs={"fetch": fetched})
    act = partial(write, fetched=fetched.folder, config=config, engine=engine, key=wanted.key)
    try:
        artifact = build(wanted, act, is_resumable=True)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise RetryError(f"no space is left in {run.out_folder}; free some and run it again") from error
        raise
    sys.stdout.write(f"{artifact.folder}\n")


def write(aside: Path, *, fetched: Path, config: CleanConfig, engine: EngineConfig, key: str) -> Facts:
    """Fill the artifact's folder and return its facts. `key` is the artifact's: work of another one is done again.

    Raises DataError if a source has nothing left.
    """
    sources = open_sources(fetched.absolute())
    check_inputs(config, [source.name for source in sources])
    work = Work(aside / WORK, key, engine)
    facts = work.finished
    if facts is None:
        results = run_phases(work, sources, config)
        report, facts = results.report(config)
        assemble(aside, results)
        write_durably(aside / REPORT, canonical_json(report))
        work.finish(facts)
    # It is gone already if a run was killed between here and the artifact's name.
    if work.folder.exists():
        shutil.rmtree(work.folder)
    return facts


def check_inputs(config: CleanConfig, sources: list[str]) -> None:
    """Refuse sources that do not exist, and evaluation sets and lists that are not there, before the work."""
    config.check_sources(sources)
    config.taken_down.keys()
    for benchmark in config.decontamination.benchmarks:
        read_benchmark(benchmark, config.decontamination)


@dataclass(slots=True)
class Work:
    """Runs phases one after another, each in a folder of its own, and remembers when all is done."""

    folder: Path
    identity: str
    engine: EngineConfig
    phases: int = 0

    def do(self, step: Step, *, tasks: int, small: Iterable[Path] | None = None) -> list[Path]:
        """Run a phase and return the folders of its tasks; of a phase that costs little, `small` says what it reads."""
        self.phases += 1
        engine = self.engine
        if tasks == 1 or (small is not None and _size(small) < SMALL_BYTES):
            engine = replace(engine, executor=Executor.LOCAL, workers=1)
        folder = self.folder / f"{self.phases:02d}-{step.name.replace(' ', '-')}"
        return run_tasks(step, tasks=tasks, folder=folder, identity=self.identity, engine=engine)

    @property
    def finished(self) -> Facts | None:
        """The facts, if all was done and put into its place before."""
        if not self._note.exists():
            return None
        note = json.loads(self._note.read_bytes())
        return note["facts"] if note["identity"] == self.identity else None

    def finish(self, facts: Facts) -> None:
        """Remember that all is done: from now on the work is not needed, and a run that is killed does not redo it."""
        self._note.parent.mkdir(exist_ok=True)
        write_durably(self._note, canonical_json({"identity": self.identity, "facts": facts}))

    @property
    def _note(self) -> Path:
        return self.folder.parent / WITNESS / "clean.json"


def _size(folders: Iterable[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir() if path.is_file())


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What the phases leave: the folders of those that count, of the written sources, and of the lists of the dropped.

    sources  in the recipe's order
    """

    sources: list[str]
    counted: list[Path]
    written: list[Path]
    listed: list[Path]
    weighed: list[Path]

    def report(self, config: CleanConfig) -> tuple[dict[str, Any], Facts]:
        """The report and the artifact's facts. Raises what data.report.Balance.check does."""
        balances = {name: Balance() for name in self.sources}
        add_counts([*self.counted, *self.written, *self.listed], balances)
        report, facts = checked_report(balances)
        report["benchmarks"] = read_report(self.weighed)
        report["versions"] = {"python": ".".join(map(str, sys.version_info[:2]))}
        report["versions"] |= {name: version(name) for name in LIBRARIES}
        if config.taken_down.is_on:
            report["taken_down"] = {"listed": len(config.taken_down.keys()), "sha256": config.taken_down.sha256}
        return report, facts


def run_phases(work: Work, sources: list[Source], config: CleanConfig) -> Results:
    """Run the phases that the configuration asks for."""
    names = [source.name for source in sources]
    order, buckets, is_text_kept = config.precedence(names), buckets_for(sources, config), work.engine.keep_dropped
    parts = parts_of(sources, part_bytes=config.part_bytes)
    judge = Judge(sources=sources, parts=parts, config=config, buckets=buckets, is_text_kept=is_text_kept)
    judged = work.do(judge, tasks=len(parts))
    settle = Settle(sieve=Sieve.EXACT, inputs=judged, settled=[], order=order, is_text_kept=is_text_kept)
    settled = work.do(settle, tasks=buckets, small=judged)
    counted = [*judged, *settled]
    if config.lines.is_on:
        shortened, settled = take_out_lines(work, settled, order=order, config=config)
        counted += [*shortened, *settled]
    twins = drop_near(work, settled, order=order, config=config) if config.fuzzy.is_on else []
    is_searched = bool(config.decontamination.benchmarks)
    weighed = drop_contaminated(work, settled, twins, order=order, config=config) if is_searched else []
    write_source = WriteSource(
        settled=settled,
        twins=twins,
        contaminated=weighed,
        sources=names,
        order=order,
        config=config,
        is_text_kept=is_text_kept,
    )
    written = work.do(write_source, tasks=len(names), small=settled)
    drop = ListDropped(settled=settled, written=written, order=order, is_text_kept=is_text_kept)
    listed = work.do(drop, tasks=buckets, small=settled)
    return Results(sources=names, counted=counted, written=written, listed=listed, weighed=weighed)


def take_out_lines(
    work: Work, settled: list[Path], *, order: list[str], config: CleanConfig
) -> tuple[list[Path], list[Path]]:
    """The folders of the rows without what many documents share, and of these settled again."""
    buckets, is_text_kept = len(settled), work.engine.keep_dropped
    collected = work.do(CollectParts(settled=settled, order=order, config=config.lines, buckets=buckets), tasks=buckets)
    losses = work.do(
        FindRepeated(collected=collected, config=config.lines, buckets=buckets), tasks=buckets, small=collected
    )
    take_out = TakeOutLines(
        settled=settled, losses=losses, order=order, config=config, buckets=buckets, is_text_kept=is_text_kept
    )
    shortened = work.do(take_out, tasks=buckets)
    again = Settle(sieve=Sieve.EXACT_AGAIN, inputs=shortened, settled=settled, order=order, is_text_kept=is_text_kept)
    return shortened, work.do(again, tasks=buckets, small=shortened)


def drop_near(work: Work, settled: list[Path], *, order: list[str], config: CleanConfig) -> list[Path]:
    """The folder that says of every near-duplicate that goes what stays for it."""
    write_bands = WriteBands(settled=settled, order=order, config=config.fuzzy, buckets=len(settled))
    banded = work.do(write_bands, tasks=len(settled))
    verified = work.do(VerifyPairs(banded=banded, config=config.fuzzy), tasks=len(settled))
    return work.do(ChooseSurvivors(verified=verified, buckets=len(settled)), tasks=1)


def drop_contaminated(
    work: Work, settled: list[Path], twins: list[Path], *, order: list[str], config: CleanConfig
) -> list[Path]:
    """The folder that says which documents hold text of evaluation sets."""
    search = SearchBenchmarks(settled=settled, twins=twins, order=order, config=config.decontamination)
    searched = work.do(search, tasks=len(settled))
    weigh = WeighEvidence(searched=searched, config=config.decontamination, buckets=len(settled))
    return work.do(weigh, tasks=1)


def assemble(aside: Path, results: Results) -> None:
    """Put what the phases wrote into its place, whatever a killed run left there."""
    for name in (TRAIN, HELDOUT, DROPPED_TEXTS):
        shutil.rmtree(aside / name, ignore_errors=True)
    for name in (TRAIN, HELDOUT):
        (aside / name).mkdir()
        for folder in results.written:
            for path in (folder / name).iterdir():
                _link(path, aside / name / path.name)
        sync_folder(aside / name)
    _join((folder / DROPPED for folder in results.listed), aside / DROPPED)
    if (results.listed[0] / DROPPED_TEXTS).exists():
        (aside / DROPPED_TEXTS).mkdir()
        for source in results.sources:
            name = f"{source}.jsonl"
            _join((folder / DROPPED_TEXTS / name for folder in results.listed), aside / DROPPED_TEXTS / name)


def _link(path: Path, target: Path) -> None:
    """Give a file a second name, so that the task that wrote it stays whole; a copy where disks know no such names."""
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)
        sync_file(target)


def _join(paths: Iterable[Path], target: Path) -> None:
    with target.open("wb") as joined:
        for path in paths:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, joined)
    sync_file(target)
