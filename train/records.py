"""What the first rank writes down: ledger, checkpoints, progress; and the check of redone steps against the ledger."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from core.artifact import WITNESS, Facts
from core.codetree import code_hash
from core.errors import DataError, DeterministicError
from core.hashing import canonical_json, hash_value
from core.journal import Journal
from core.ledger import Ledger, Line, first_difference, full_head, genesis, trajectory_head
from core.progress import Progress
from train.checkpoint import (
    Position,
    begin_generation,
    folder_name,
    list_checkpoints,
    open_checkpoint,
    remove,
    save,
    sweep,
)
from train.parent import check_parent
from train.recipe import Recipe
from train.recovery import Candidate, choose_start, superfluous
from train.spikes import Measured

CONFIG, LEDGER, CHECKPOINTS, DAMAGED = "config.json", "ledger.jsonl", "checkpoints", "damaged"


class Records:
    """The folder of a run that is under way; opened by the first rank alone."""

    def __init__(self, folder: Path, *, recipe: Recipe, data_root: str) -> None:
        """Open or begin the folder, as the next generation. Raises DataError if it is another run's."""
        self._recipe, self._config = recipe, recipe.train
        self._checkpoints, self._witness = folder / CHECKPOINTS, folder / WITNESS
        self._checkpoints.mkdir(exist_ok=True)
        self._witness.mkdir(exist_ok=True)
        self.generation = begin_generation(self._witness)
        sweep(self._checkpoints)
        facts = recipe.facts
        (folder / CONFIG).write_bytes(canonical_json(facts))
        self._identity = hash_value({"config": facts, "data": data_root})
        start = recipe.train.start
        self._parent = check_parent(open_checkpoint(start.checkpoint), recipe) if start.is_given else None
        first = genesis(
            code=code_hash("train"),
            config=hash_value({"model": facts["model"], "train": facts["train"]}),
            data=data_root,
            profile=hash_value(facts["profile"]),
            parent=self._parent,
        )
        self._ledger = Ledger(folder / LEDGER, first)
        self._dropped: list[Line] = []

    def find_start(self, journal: Journal) -> tuple[int, Path | None]:
        """Decide from which step and checkpoint to go on (0 and None: from the initial weights).

        The ledger is cut there, and refused checkpoints are moved to the witness.
        """
        self._journal = journal
        first = self._parent["step"] if self._parent else 0
        start = choose_start(self._candidates(), is_kept=lambda step: step > first and self._config.is_kept(step))
        for refused in start.refused:
            self._put_away(refused)
        self._dropped = self._ledger.cut(start.step)
        journal.event(
            "run.resumed" if start.step or self._dropped else "run.begun",
            step=start.step,
            checkpoint=folder_name(start.step) if start.step else "none",
            why=start.reason,
            redone_steps=len(self._dropped),
        )
        self._progress = Progress("train", total=self._config.steps, unit="steps", done=max(start.step, first))
        if start.step:
            return start.step, self._checkpoints / folder_name(start.step)
        return first, self._config.start.checkpoint if first else None

    def add(self, line: Line, state: Mapping[str, Tensor] | None, *, measured: Measured | None = None) -> None:
        """Write down a finished step, and its state if it is saved.

        Raises DeterministicError if the step was done before a restart and gave something else.
        """
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
        if state:
            self._save(line, state, measured)
        self._progress.advance(note=f"loss {float.fromhex(line['loss']):.4f}")

    def finish(self) -> Facts:
        """Close the ledger and tell what came of the run. Raises DataError if the last checkpoint is damaged."""
        self._remove_superfluous(is_finished=True)
        self._ledger.sync()
        self._ledger.close()
        steps = self._ledger.steps
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

    def _save(self, line: Line, state: Mapping[str, Tensor], measured: Measured | None) -> None:
        """Commit a checkpoint, which may name the ledger's head only once that is on the disk."""
        self._ledger.sync()
        position = Position(
            step=line["step"],
            tokens=line["tokens"],
            ledger_head=self._ledger.head,
            state_root=line["state"],
            identity=self._identity,
        )
        made = save(
            self._checkpoints,
            state,
            position,
            measured=measured,
            witness=self._witness,
            generation=self.generation,
        )
        self._journal.event("checkpoint.saved", step=position.step, folder=made.folder.name)
        self._remove_superfluous(is_finished=False)

    def _candidates(self) -> list[Candidate]:
        heads = {line["step"]: full_head([line]) for line in self._ledger.steps}
        found = list_checkpoints(self._checkpoints)
        return [Candidate(step, self._fault(path, heads.get(step))) for step, path in found.items()]

    def _fault(self, path: Path, ledger_head: str | None) -> str:
        try:
            position = open_checkpoint(path).position
        except DataError as error:
            return str(error)
        if position.identity != self._identity:
            return f"{path} belongs to a run of another identity"
        if position.ledger_head != ledger_head:
            return f"{path} names another ledger head than the ledger here has at its step"
        return ""

    def _put_away(self, refused: Candidate) -> None:
        self._journal.event("checkpoint.refused", step=refused.step, why=refused.fault)
        damaged = self._witness / DAMAGED
        damaged.mkdir(exist_ok=True)
        (self._checkpoints / folder_name(refused.step)).rename(
            damaged / f"{folder_name(refused.step)}-{self.generation}"
        )

    def _remove_superfluous(self, *, is_finished: bool) -> None:
        found = list_checkpoints(self._checkpoints)
        for step in superfluous(sorted(found), is_kept=self._config.is_kept, is_finished=is_finished):
            remove(found[step])
