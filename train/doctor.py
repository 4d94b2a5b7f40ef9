"""Verb doctor: what this machine can promise for a recipe, one line a check. Free of torch until it must.

It tells which profile the machine can honour, tries every kernel of the recipe at its shapes (selftests.py), says what
would make it faster, and prints the fingerprint. Exit code 64 if a check of the recipe's own profile fails.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.allocator import find_tcmalloc
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import CONF
from core.errors import ConfigError
from core.hashing import hash_value
from core.profile import apply, fingerprint
from train.recipe import Recipe, read_recipe, window_tokens

if TYPE_CHECKING:
    from train.selftests import Finding

USAGE = "python -m train doctor"
JSON, ONLY_PROFILE = "--json", "--only-profile"
ALLOCATORS = ("tcmalloc", "jemalloc", "mimalloc")
MAPS = Path("/proc/self/maps")
# docs/performance.md.
GAINED = "1.0 to 1.3 times as fast, in 12% less memory"


def main(arguments: Sequence[str]) -> None:
    """`RECIPE [--json] [key=value ...]`. Raises ConfigError naming the checks that failed."""
    rest = [argument for argument in arguments if argument not in (JSON, ONLY_PROFILE)]
    name, overrides = recipe_and_overrides(rest, USAGE)
    recipe = read_recipe(name, overrides)
    apply(recipe.profile)
    if ONLY_PROFILE in arguments:
        _honour(recipe)
        return
    found = examine(recipe, seq_len=window_tokens(name, overrides, recipe=recipe))
    found[1:1] = _other_profiles(name, overrides, own=recipe.profile.name)
    facts = fingerprint(recipe.profile)
    sys.stdout.write(_as_json(found, facts) if JSON in arguments else _as_lines(found, facts))
    failed = [finding.check for finding in found if finding.verdict == "FAIL"]
    if failed:
        raise ConfigError(
            f"{len(failed)} checks of profile {recipe.profile.name} failed ({'; '.join(failed)}); this machine cannot "
            "promise the same bits with it"
        )


def examine(recipe: Recipe, *, seq_len: int) -> "list[Finding]":
    """Every check in this process, the profile's first. The profile has been applied."""
    from train.cases import kernels_of
    from train.collectives import collective_findings
    from train.selftests import Finding, control_findings, findings_of

    try:
        _honour(recipe)
    except ConfigError as error:
        return [Finding(f"profile {recipe.profile.name}", "FAIL", str(error))]
    found = [Finding(f"profile {recipe.profile.name}", "PASS", "this machine and these builds answer as it asks")]
    found.append(allocator(MAPS.read_text(encoding="utf-8", errors="replace"), library=find_tcmalloc()))
    device = recipe.profile.device.value
    for kernel in kernels_of(recipe, seq_len=seq_len, device=device):
        found += findings_of(kernel, threads=recipe.profile.threads)
    # Between GPUs benchmarks/gpu_acceptance.py tries it: its grid needs the GPUs of all ranks.
    found += collective_findings() if device == "cpu" else []
    return [*found, *control_findings(device)]


def _honour(recipe: Recipe) -> None:
    from model.numerics import honour
    from train.selftests import check_at_start

    honour(recipe.profile)
    check_at_start(recipe)


def _other_profiles(name: str, overrides: Sequence[str], *, own: str) -> "list[Finding]":
    """Try the other profiles, each in a process of its own: torch reads its environment once."""
    from train.selftests import Finding

    found = []
    for path in sorted((CONF / "profile").glob("*.yaml")):
        if path.stem == own:
            continue
        command = [sys.executable, "-m", "train", "doctor", name, ONLY_PROFILE, *overrides, f"profile={path.stem}"]
        tried = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        told = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        is_good = tried.returncode == 0
        found.append(Finding(f"profile {path.stem}", "NOTE", "can be honoured here" if is_good else f"cannot: {told}"))
    return found


def allocator(maps: str, *, library: Path | None) -> "Finding":
    """Which allocator is loaded, and whether a faster `library` is there; bits do not depend on it, speed does."""
    from train.selftests import Finding

    loaded = [name for name in ALLOCATORS if re.search(rf"/lib{name}\w*\.so", maps)]
    if loaded:
        return Finding("allocator", "PASS", f"{loaded[0]} is loaded")
    remedy = (
        f"set launch.allocator=auto, or LD_PRELOAD={library} where ranks are started otherwise"
        if library
        else "install it (Debian: libtcmalloc-minimal4) and set launch.allocator=auto"
    )
    return Finding("allocator", "NOTE", f"the C library's; with tcmalloc steps were {GAINED}: {remedy}")


def _as_lines(found: "Sequence[Finding]", facts: dict[str, Any]) -> str:
    width = max(len(finding.check) for finding in found)
    lines = [f"{finding.verdict}  {finding.check:<{width}}  {finding.told}" for finding in found]
    return "\n".join([*lines, f"fingerprint {hash_value(facts)}", ""])


def _as_json(found: "Sequence[Finding]", facts: dict[str, Any]) -> str:
    findings = [asdict(finding) for finding in found]
    return json.dumps({"findings": findings, "fingerprint": facts, "fingerprint_sha256": hash_value(facts)}) + "\n"
