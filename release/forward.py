"""The checks that run the model forward: is the published folder this model, are the scores and the losses its own.

Nothing is trained. The bundle's code measures (`inference examine`, `evaluation rescore`, `train losses`); here is
judged. Where this machine answers the numerics profile as the bundle's did, every number must be equal to the bit. Else
only distances can be weighed:

    bound    what honest arithmetic stays below. Of logits the bound that stage export took for transformers; of a
             token's score 1e-3 nats, since a logit that is off by d moves it by at most 2 d. Within it, the weaker
             claim that weights and scores belong together still holds, and says that it is weaker
    FAR      0.05 nats a token or 5 % of a loss: no profile moves so far, and other weights or texts do. Always a FAIL

Between the two nothing can be said here.
"""

import json
from typing import Any

from core.errors import DataError
from core.seeds import derive_seed
from release.alive import FOLDER, alive
from release.checks import expect
from release.contents import Bundle
from release.stage import ask
from release.verdict import InconclusiveError, UnsupportedError

# Drawn by default: batches of windows that are computed together (evaluate.batch_windows), and continued prompts.
BATCHES, SAMPLES = 4, 2
NATS_BOUND, FAR = 1e-3, 0.05
ALL = "all"
WEAKER = "under another profile than the bundle's, so weaker than bitwise"


def forward(bundle: Bundle) -> str:
    """The published folder is what stage export writes of these weights; two runtimes give the stored logits."""
    alive(bundle)
    _require(bundle, "fingerprint.json")
    answer = _measure(bundle, "inference", "examine", "--fingerprint", bundle.folder / "eval/fingerprint.json")
    profile = bundle.profile_difference
    if answer["file"]:
        _differ(f"{FOLDER} holds {answer['file']}", profile, is_far=not profile)
    if not answer["is_same"] or profile:
        told = f"logits on fixed ids differ by up to {answer['ours']:.3g} from eval/fingerprint.json"
        _weigh(told, answer["ours"], bound=answer["bound"], profile=profile)
    # The bound is of this runtime, under whatever profile. Not `>`: what is no number is far.
    if not answer["theirs"] <= answer["bound"]:
        raise DataError(
            f"transformers' logits on fixed ids differ by up to {answer['theirs']:.3g} from the stored ones"
        )
    how = f"within {answer['bound']:g}, {WEAKER}" if profile else "to the bit"
    return (
        f"{FOLDER} is what stage export writes of these weights; logits on fixed ids are the stored ones, {how}, and "
        f"by transformers within {answer['bound']:g}; {answer['documents']} held-out texts get the run's token ids"
    )


def scores(bundle: Bundle) -> str:
    """A drawn part of scores and samples, or all, comes out of the published weights again; results follow."""
    _require(bundle, "windows.jsonl")
    facts, results = bundle.artifacts["evaluate"]["facts"], bundle.read_json("eval/results.json")
    said = {"bits_per_byte": results["total"]["bits_per_byte"]}
    said["bits_per_byte_by_source"] = {name: own["bits_per_byte"] for name, own in results["sources"].items()}
    for name, value in said.items():
        expect(f"{name} in artifact evaluate", facts[name], value)
    seed = derive_seed(int(bundle.root, 16), "scores", bundle.nonce)
    counts = (ALL, ALL) if bundle.is_everything else (BATCHES, SAMPLES)
    drawn = ["--scores", bundle.folder / "eval", "--draw", seed, "--batches", counts[0], "--samples", counts[1]]
    answer = _measure(bundle, "evaluation", "rescore", *drawn)
    profile = bundle.profile_difference
    if answer["difference"]:
        _weigh(f"eval/windows.jsonl, {answer['difference']}", answer["largest"], bound=NATS_BOUND, profile=profile)
    if answer["sample"]:
        _differ(f"eval/samples.jsonl, {answer['sample']}", profile, is_far=not profile)
    how = f"within {NATS_BOUND:g} nats a token, {WEAKER}" if answer["difference"] else "to the bit"
    return (
        f"{answer['windows']} of {answer['of_windows']} scored windows and {answer['samples']} of "
        f"{answer['of_samples']} samples come out of the published weights again, {how}; "
        "results follow from the windows"
    )


def losses(bundle: Bundle) -> str:
    """What each state gives on the batch that came next is the loss in the ledger: forward passes only.

    The initial weights are made from the seed again; the ledger holds no root of them, and the loss stands for it.
    """
    code, recipe = bundle.runnable_code(), bundle.runnable_recipe()
    is_there = not bundle.has_start or bundle.start.is_dir()
    states: dict[int, Any] = {0: "init"} if not bundle.first_step and is_there else {}
    if bundle.first_step and is_there:
        states[bundle.first_step] = bundle.start
    last = bundle.first_step + len(bundle.ledger) - 1
    states |= {step: folder for step, folder in bundle.checkpoints.items() if step < last}
    # Where the run went back, the state that went on had other data before it than the checkpoint knows of.
    states = {step: state for step, state in states.items() if "returned" not in bundle.line(step + 1)}
    if not states:
        raise UnsupportedError("no state that a step of the ledger follows is in the bundle or was given")
    starts = [word for state in states.values() for word in ("--start", state)]
    answer = ask(code, "train", "losses", recipe, "--pack", bundle.pack, *starts)
    found = {line["step"]: line["loss"] for line in map(json.loads, answer.splitlines())}
    for step in sorted(states):
        said, again = bundle.line(step + 1)["loss"], found[step + 1]
        if said != again:
            distance = abs(float.fromhex(said) - float.fromhex(again)) / abs(float.fromhex(again))
            told = f"the loss of step {step + 1} is {said}, but the state before it gives {again}"
            # Never a PASS: this level's claims are bitwise.
            _differ(told, bundle.profile_difference, is_far=not distance <= FAR or not bundle.profile_difference)
    begun = "0 (the parent's weights)" if bundle.has_start else "0 (made from the seed again)"
    named = ", ".join(str(step) if step else begun for step in sorted(states))
    return f"the states after steps {named} give the next step's loss, to the bit"


def _measure(bundle: Bundle, folder: str, verb: str, *options: object) -> dict[str, Any]:
    """Run a verb that measures on the published folder, and read its answer."""
    inside = bundle.folder
    where = ["--weights", inside / FOLDER, "--model", inside / bundle.trained_path]
    where += ["--tokenizer", inside / "tokenizer", "--clean", inside / "data"]
    output = ask(bundle.runnable_code(), folder, verb, bundle.recipe_path, *where, *options)
    answer: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return answer


def _weigh(told: str, distance: float, *, bound: float, profile: str) -> None:
    """Raise DataError if a distance proves something, InconclusiveError if it could be the profile's."""
    # Not `>`: what is no number is far.
    if not profile or not distance <= bound:
        _differ(told, profile, is_far=not profile or not distance <= FAR)


def _differ(told: str, profile: str, *, is_far: bool) -> None:
    if is_far:
        raise DataError(told)
    raise InconclusiveError(f"{told}; this machine answers the numerics profile in another way: {profile}")


def _require(bundle: Bundle, name: str) -> None:
    if not any(entry["path"] == name for entry in bundle.artifacts["evaluate"]["files"]):
        raise UnsupportedError(f"the evaluation wrote no {name}: it was made by code from before it did")
