"""Verb complete: continue a prompt with the model that a run trained, for people; with --chat, answer it."""

import argparse
import sys

from core.artifact import current
from core.config import RunConfig, load
from core.profile import ProfileConfig, apply


def main(arguments: list[str]) -> None:
    """Write prompt and continuation to standard output."""
    options, overrides = _parse(arguments)
    run = load(options.recipe, "run", RunConfig, overrides)
    profile = load(options.recipe, "profile", ProfileConfig, overrides)
    tokenizer_artifact, train = (current(run.inputs_folder, stage) for stage in ("tokenizer", "train"))
    apply(profile)
    from data.chat import END, USER, Message, ask
    from data.tokenizer import Tokenizer
    from inference.engine import Sampling, generate
    from inference.weights import load_trained
    from model.numerics import honour

    honour(profile)
    sampling = Sampling(temperature=options.temperature, top_p=options.top_p, seed=options.seed)
    tokenizer = Tokenizer.open(tokenizer_artifact.folder)
    model = load_trained(train, attention=profile.attention)
    if options.chat:
        prompt, stop_id = ask([Message(USER, options.prompt)], tokenizer), tokenizer.special_ids[END]
    else:
        prompt, stop_id = [tokenizer.bos_id, *tokenizer.encode(options.prompt)], tokenizer.eos_id
    ids = generate(
        model, prompt, max_tokens=options.max_tokens, stop_id=stop_id, sampling=sampling, stream=options.prompt
    )
    sys.stdout.write(f"{tokenizer.decode(ids if options.chat else prompt + ids)}\n")


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m inference complete", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--chat", action="store_true", help="the prompt is what a user says; write the answer alone")
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token")
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same text")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    return options, options.overrides
