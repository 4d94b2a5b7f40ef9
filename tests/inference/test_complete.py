"""The verb for people."""

from pathlib import Path

from tests.conftest import run_module


def test_a_prompt_is_completed_on_standard_output_alone(recipe: Path) -> None:
    finished = run_module("inference", "complete", recipe, "--prompt", "the people", "--max-tokens", "8")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("the people") and len(finished.stdout) > len("the people\n")
    assert finished.stderr == ""
