"""A house of fake stages, and a look at the process table."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.codetree import MAY_IMPORT, ROOT
from tests.train.runs import Tiny, pack_once

STAGES = """\
one: {folder: fake, verb: one, inputs: []}
train: {folder: fake, verb: train, inputs: []}
bundle: {folder: fake, verb: bundle, inputs: [one, train]}
verify: {folder: fake, verb: verify, inputs: [bundle]}
"""
RECIPE = """\
run: {{name: fake, out: {out}}}
train: {{steps: 8}}
launch: {{ranks: 2, backoff_s: 0.01, stop_grace_s: 5}}
"""
DEADLINE_S = 120.0


@dataclass
class House:
    """A folder in which `python -m fake VERB` works, its recipe and its run's folder."""

    root: Path
    recipe: Path
    out: Path
    _processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `python -m fake ARGUMENTS`; it is killed at the end of the test."""
        process = subprocess.Popen(
            [sys.executable, "-m", "fake", *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def run(self, *overrides: str, verb: str = "launch") -> "subprocess.CompletedProcess[str]":
        """Run a verb on the recipe to its end."""
        return self.finish(self.start(verb, str(self.recipe), *overrides))

    def finish(self, process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
        """Wait for the end of a process."""
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it a run stands at its `train.hold_at`: whatever is done to it meets it there."""
        (self.root / "hold").touch()
        yield
        (self.root / "hold").unlink()

    def struck(self) -> bool:
        """Whether the drill has struck an unfinished run."""
        return any(self.out.glob(".train-*.part/witness/drill.json"))

    def alive(self) -> list[int]:
        """Every process that was started with this recipe, whoever started it, and has not ended."""
        return processes_with(str(self.recipe))

    def close(self) -> None:
        """End what a failed test has left."""
        for process in self._processes:
            process.kill()
            process.communicate()


def processes_with(argument: str) -> list[int]:
    """Every living process whose command line holds a text."""
    return [pid for pid in _pids() if argument.encode() in _read(pid, "cmdline")]


def _pids() -> list[int]:
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()
    ]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def wait_until(is_so: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """Wait for an event with a deadline."""
    deadline = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited {deadline_s} s in vain until {what}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def tiny(shared_recipe: Path) -> Tiny:
    """The session's tiny recipe with its packed tokens."""
    return pack_once(shared_recipe)


@pytest.fixture(scope="session")
def clean(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The final weights of a run of keeper_runs.SHAPE that nothing happened to."""
    from tests.launch.keeper_runs import SHAPE, undisturbed

    return undisturbed(tiny, tmp_path_factory.mktemp("clean"), SHAPE)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A fresh house of this test alone."""
    root = tmp_path / "house"
    (root / "fake").mkdir(parents=True)
    for name in MAY_IMPORT:
        (root / name).symlink_to(ROOT / name)
    (root / "fake" / "__main__.py").symlink_to(Path(__file__).parent / "fake_stages.py")
    (root / "stages.yaml").write_text(STAGES)
    recipe = tmp_path / "fake.yaml"
    recipe.write_text(RECIPE.format(out=tmp_path / "runs"))
    made = House(root=root, recipe=recipe, out=tmp_path / "runs")
    yield made
    made.close()
