"""What the first rank writes down: ledger, checkpoints, progress; and the check of redone steps against the ledger.

The line of a saved step needs the state root, which is known only when every rank has hashed its chunks: it and the
lines after it are held back until then.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from core.artifact import WITNESS, Facts
from core.codetree import code_hash
from core.errors import DataError, DeterministicError, RetryError
from core.hashing import canonical_json, hash_value
from core.journal import Journal
from core.kept import kept
from core.ledger import Ledger, Line, first_difference, full_head, genesis, parent_step, trajectory_head
from core.progress import Progress
from core.suffer import touch
from train.chain import Chain, choose_chain
from train.config import Objective
from train.destination import Destination
from train.parent import parent_line
from train.recipe import Recipe
from train.recovery import Candidate, choose_start, superfluous
from train.reference import Reference
from train.reserve import Reserve, give_slack, sweep_reserves
from train.scrub import Scrubber
from train.sender import Sender
from train.spikes import Measured
from train.store import (
    CHECKPOINTS,
    PREFIX,
    Position,
    aside_of,
    begin_generation,
    commit,
    folder_name,
    list_checkpoints,
    open_checkpoint,
    remove,
    sweep,
)
from train.tensorfile import Layout

CONFIG, LEDGER, DAMAGED = "config.json", "ledger.jsonl", "damaged"
RUN_DIGITS = 16


class Records:
    """The folder of a run that is under way; opened by the first rank alone."""

    def __init__(self, folder: Path, *, recipe: Recipe, data_root: str, reference: Reference | None = None) -> None:
        """Open or begin the folder, as the next generation; `reference` is for preferences.

        Raises DataError if it is another run's.
        """
        self._recipe, self._config = recipe, recipe.train
        self._checkpoints, self._witness = folder / CHECKPOINTS, folder / WITNESS
        self._checkpoints.mkdir(exist_ok=True)
        self._witness.mkdir(exist_ok=True)
        # First of all: on a full disk the generation could not be written otherwise.
        sweep_reserves(self._checkpoints)
        told = kept()
        self.generation = begin_generation(self._witness, given=told.generation if told else 0)
        self._void_after = told.void_after if told else -1
        sweep(self._checkpoints)
        facts = recipe.facts
        (folder / CONFIG).write_bytes(canonical_json(facts))
        self._identity = hash_value({"config": facts, "data": data_root})
        objective = recipe.train.objective
        first = genesis(
            code=code_hash("train"),
            config=hash_value({"model": facts["model"], "train": facts["train"]}),
            data=data_root,
            profile=hash_value(facts["profile"]),
            parent=parent_line(recipe),
            objective="" if objective is Objective.NEXT_TOKEN else objective.value,
            reference=reference.root if reference else "",
        )
        self._first = parent_step(first)
        self._ledger_path = folder / LEDGER
        self._destination: Destination | None = None
        if self._config.checkpoints:
            self._destination = Destination(self._config.checkpoints, run=hash_value(first)[:RUN_DIGITS])
            if not self._ledger_path.exists():
                self._destination.bring_ledger(self._ledger_path)
        self._ledger = Ledger(self._ledger_path, first)
        self._dropped: list[Line] = []
        self._held_back: list[Line] = []
        self._measured: Measured | None = None
        self._is_room_held = self._is_root_told = True
        self._scrubber: Scrubber | None = None
        # The thread that commits removes checkpoints, and damaged ones are put away meanwhile.
        self._is_moving = Lock()
        self._sender: Sender | None = None
        if self._destination:
            self._sender = Sender(
                self._destination,
                self._config,
                checkpoints=self._checkpoints,
                ledger=self._ledger_path,
                moving=self._is_moving,
            )

    def find_start(self, journal: Journal, found: Sequence[Chain] = ()) -> tuple[int, Path | None, Chain | None]:
        """Decide from which step and checkpoint, or from which of the chains found in memory, to go on.

        Step 0 without either is from the initial weights.

        The ledger is cut there, and refused checkpoints are moved to the witness.
        """
        self._journal = journal
        self._bring_copies()
        first = self._first
        start = choose_start(self._candidates(), is_kept=lambda step: step > first and self._config.is_kept(step))
        for refused in start.refused:
            self._put_away(refused)
        chain = choose_chain(
            found, checkpoint=start.step, last_line=len(self._ledger.steps) + first, is_saved=self._config.is_saved
        )
        after = max(start.step, chain.base) if chain else start.step
        self._dropped = self._ledger.cut(after)
        if self._void_after >= 0:
            # What was computed wrongly is no measure for what comes now.
            self._dropped = [line for line in self._dropped if line["step"] <= self._void_after]
        journal.event(
            "run.resumed" if start.step or self._dropped else "run.begun",
            step=chain.last if chain else start.step,
            checkpoint=folder_name(start.step) if start.step else "none",
            why=f"keepers hold the state after step {chain.last}" if chain else start.reason,
            redone_steps=len(self._dropped),
        )
        self._progress = Progress("train", total=self._config.steps, unit="steps", done=max(after, first))
        if self._config.scrub_every_s:
            self._scrubber = Scrubber(self._checkpoints, pause_s=self._config.scrub_every_s)
        if self._sender:
            # What an earlier start could not send.
            self._sender.wake()
        if start.step:
            return after, self._checkpoints / folder_name(start.step), chain
        return max(first, after), self._config.start.checkpoint if self._config.start.is_continued else None, chain

    def hold_room(self, layouts: Mapping[str, Layout]) -> None:
        """Take the room for the next checkpoint."""
        self._reserve = Reserve(self._checkpoints, layouts, generation=self.generation)
        self._hold_room()

    def add(self, line: Line, *, is_saved: bool, is_told: bool = True, measured: Measured | None = None) -> None:
        """Write down a finished step; a saved one, and those after it, when its state root is known.

        Of a step that is saved out of turn, not `is_told`, the line has no state root: the ledger does not know it.

        Raises DeterministicError if the step was done before a restart and gave something else.
        """
        self._heed_scrubber()
        if is_saved or self._held_back:
            self._held_back.append(line)
            self._is_root_told = is_told if is_saved else self._is_root_told
            self._measured = measured if is_saved else self._measured
        else:
            self._append(line)
        self._progress.advance(note=_note(line))

    def open_aside(self, step: int) -> Path:
        """The folder to write a checkpoint in, with its files allocated. Raises RetryError if the disk is full."""
        aside = aside_of(self._checkpoints, step, self.generation)
        touch("commit.open", step)
        self._reserve.take(aside)
        return aside

    def commit(self, aside: Path, root: str, hashes: Mapping[str, Sequence[bytes]]) -> Callable[[], None]:
        """Write down the lines that were held back; returns the commit itself, to be called in a thread.

        A checkpoint may name the ledger's head only once that is on the disk.
        """
        line, *later = self._held_back
        self._held_back = []
        self._append(line | ({"state": root} if self._is_root_told else {}))
        position = Position(
            step=line["step"],
            tokens=line["tokens"],
            ledger_head=self._ledger.head,
            state_root=root,
            identity=self._identity,
        )
        for other in later:
            self._append(other)
        measured, self._saving = self._measured, position.step

        def finish() -> None:
            touch("commit.ledger", position.step)
            self._ledger.sync()
            give_slack(aside)
            commit(aside, position, hashes=hashes, measured=measured, witness=self._witness, generation=self.generation)
            touch("commit.remove", position.step)
            self._remove_superfluous(is_finished=False)
            if self._sender:
                self._sender.wake()
                if position.step == self._config.steps:
                    self._sender.finish()
            self._is_room_held = self._reserve.hold()

        return finish

    def note_committed(self) -> None:
        """Tell of a checkpoint that `commit` has made."""
        self._journal.event("checkpoint.saved", step=self._saving, folder=folder_name(self._saving))
        self._tell_of_room()

    def finish(self) -> Facts:
        """Close the ledger and tell what came of the run. Raises DataError if the last checkpoint is damaged."""
        if self._scrubber:
            self._scrubber.stop()
        if self._sender:
            self._sender.finish()
        self._reserve.release()
        self._remove_superfluous(is_finished=True)
        self._ledger.sync()
        self._ledger.close()
        steps = self._ledger.steps
        self._check_all_kept()
        last = open_checkpoint(self._checkpoints / folder_name(self._config.steps))
        losses = [float.fromhex(line["loss"]) for line in steps]
        return {
            "came_in": f"{steps[-1]['tokens']:,} tokens in {len(steps)} steps",
            "went_out": f"{self._recipe.model.parameter_count:,} weights; loss {losses[0]:.3f} to {losses[-1]:.3f}",
            "final": f"{CHECKPOINTS}/{last.folder.name}",
            "steps": len(steps),
            "trajectory_head": trajectory_head(steps),
            "full_head": self._ledger.head,
            "weights_sha256": last.weights_sha256,
            "state_root": last.position.state_root,
        }

    def go_back(self, step: int, *, to: int) -> None:
        """Make void what was written down after a saved step."""
        void = self._ledger.cut(to)
        self._journal.event("run.returned", step=step, to=to, void_lines=len(void))
        self._progress.advance(-len(void))

    def _append(self, line: Line) -> None:
        # What a run that was killed wrote after it went back is no measure for what comes before it goes back again.
        if self._dropped and self._dropped[0].get("returned") == line.get("returned"):
            before = self._dropped.pop(0)
            difference = first_difference([before], [line])
            if difference:
                raise DeterministicError(
                    f"redone after a restart, {difference} (left: before, right: now); this machine or this code does "
                    "not compute the same twice: keep the folder as evidence and test the machine"
                )
            if not self._dropped:
                self._journal.event("redo.matched", step=line["step"])
        self._ledger.append(line)

    def _hold_room(self) -> None:
        self._is_room_held = self._reserve.hold()
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        if not self._is_room_held:
            self._journal.event("disk.full", why="no room for the next checkpoint", folder=str(self._checkpoints))

    def _check_all_kept(self) -> None:
        found = list_checkpoints(self._checkpoints)
        lost = [step for line in self._ledger.steps if self._config.is_kept(step := line["step"]) and step not in found]
        if lost:
            raise RetryError(
                f"the checkpoint of step {lost[0]}, which the artifact keeps, is no longer in {self._checkpoints}; "
                "start the run again: it goes on from the one before"
            )

    def _bring_copies(self) -> None:
        """Bring what has a copy at the destination and is missing or damaged here."""
        there = self._destination.steps() if self._destination else []
        faults = {one.step: one for one in self._candidates()} if there else {}
        for step in there:
            if step in faults and not faults[step].fault:
                continue
            if step in faults:
                self._put_away(faults[step])
            assert self._destination
            try:
                self._destination.bring(step, self._checkpoints)
            except DataError as error:
                self._journal.event("checkpoint.refused", step=step, why=str(error))
            else:
                self._journal.event("checkpoint.brought", step=step, address=self._config.checkpoints)

    def _candidates(self) -> list[Candidate]:
        heads = {line["step"]: full_head([line]) for line in self._ledger.steps}
        found = list_checkpoints(self._checkpoints)
        return [Candidate(step, self._fault(path, heads.get(step))) for step, path in found.items()]

    def _fault(self, path: Path, ledger_head: str | None) -> str:
        if 0 <= self._void_after < int(path.name.removeprefix(PREFIX)):
            return f"{path} was made of steps that were computed wrongly"
        try:
            position = open_checkpoint(path).position
        except DataError as error:
            return str(error)
        if position.identity != self._identity:
            return f"{path} belongs to a run of another identity"
        if position.ledger_head != ledger_head:
            return f"{path} names another ledger head than the ledger here has at its step"
        return ""

    def _heed_scrubber(self) -> None:
        """Put away what the scrubber has found. Raises RetryError if the artifact cannot do without it."""
        for found in self._scrubber.found() if self._scrubber else []:
            if not (self._checkpoints / folder_name(found.step)).exists():
                continue
            self._put_away(found)
            if self._config.is_kept(found.step):
                raise RetryError(
                    f"the scrubber found a damaged checkpoint that the artifact keeps ({found.fault}); it was put into "
                    f"{self._witness / DAMAGED}: start the run again, it goes on from the one before"
                )

    def _put_away(self, refused: Candidate) -> None:
        """Move a checkpoint where no recovery meets it."""
        damaged = self._witness / DAMAGED
        damaged.mkdir(exist_ok=True)
        with self._is_moving:
            (self._checkpoints / folder_name(refused.step)).rename(
                damaged / f"{folder_name(refused.step)}-{self.generation}"
            )
        self._journal.event("checkpoint.refused", step=refused.step, why=refused.fault)

    def _remove_superfluous(self, *, is_finished: bool) -> None:
        newest = 0 if is_finished else self._config.keep_newest
        with self._is_moving:
            found = list_checkpoints(self._checkpoints)
            for step in superfluous(sorted(found), is_kept=self._config.is_kept, newest=newest):
                if not (self._sender and self._sender.busy == step):
                    remove(found[step])


def _note(line: Line) -> str:
    """What the bar says of a step."""
    heldout = f", held out {float.fromhex(line['eval']['loss']):.4f}" if "eval" in line else ""
    return f"loss {float.fromhex(line['loss']):.4f}{heldout}"
