"""Packs of generated conversations and pairs for the tiny recipe's model, and a parent whose weights runs take."""

import json
from dataclasses import dataclass
from pathlib import Path

from core.artifact import Facts, build, plan
from data.chat import Form
from data.packconfig import PackConfig
from tests.data.packs import write_chat_pack
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder
from train.config import Objective
from train.run import main

FORMS = {Objective.SFT: Form.CONVERSATIONS, Objective.PREFERENCE: Form.PAIRS}
# The generated conversations need 65 tokens of room. M is no power of two.
SHAPE = (
    "train.steps=4",
    "train.micro_batches=3",
    "train.micro_batch=2",
    "train.warmup_steps=1",
    "train.save_every_steps=2",
)


def pack_chats(out: Path, form: Form) -> Path:
    """A pack artifact of one source in a folder of artifacts; returns that folder."""

    def write(aside: Path) -> Facts:
        aside.rmdir()
        config = PackConfig(seed=1, seq_len=64, weights={"talk": 1}, form=form)
        write_chat_pack(aside, config, documents={"talk": 40})
        return {"came_in": "documents", "went_out": "windows"}

    build(plan("pack", folder="data", out=out, config={"form": form.value}, inputs={}), write)
    return out


@dataclass(frozen=True)
class Chats:
    """A parent's checkpoint, and packs by objective."""

    tiny: Tiny
    parent: Path
    packs: dict[Objective, Path]

    @property
    def state_root(self) -> str:
        """Of the parent's checkpoint."""
        root: str = json.loads((self.parent / "state.json").read_bytes())["state_root"]
        return root

    @property
    def begun(self) -> tuple[str, ...]:
        """The overrides with which a run takes the parent's weights."""
        return (
            "train.start.takes=weights",
            f"train.start.checkpoint={self.parent}",
            f"train.start.state_root={self.state_root}",
        )

    def arguments(self, out: Path, objective: Objective, *overrides: str) -> list[str]:
        """The arguments of `python -m train run`."""
        tiny = Tiny(self.tiny.recipe, self.packs[objective])
        return tiny.arguments(out, f"train.objective={objective.value}", *SHAPE, *self.begun, *overrides)


def make_chats(tiny: Tiny, folder: Path) -> Chats:
    """Train the parent for two steps, and write the packs."""
    short = ("train.steps=2", "train.save_every_steps=2", "train.warmup_steps=1")
    ended = run_ranks(1, main, [tiny.arguments(folder / "parent", *short)], notes=folder / "notes")
    assert ended.exit_codes == [0], ended.messages
    packs = {objective: pack_chats(folder / objective.value, form) for objective, form in FORMS.items()}
    return Chats(tiny, finished_folder(folder / "parent") / "checkpoints" / "step-000002", packs)
