"""Verb rescore: are published scores and samples of the published weights?

Computes a drawn part of them again, from the published folder, tokenizer and held-out documents, and measures how far
they are from what was written. Which windows there must be, and which results and texts follow from them, is held
against all that was written. Whoever asked judges the distances: bits are comparable under one numerics profile only.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.arguments import take
from core.cli import recipe_and_overrides
from core.config import load
from core.errors import ConfigError, DataError
from core.profile import ProfileConfig, apply
from core.seeds import derive_seed
from evaluation.config import ScoreConfig
from evaluation.score import RESULTS, SAMPLES, WINDOWS, Texts, draw_sample, read_texts, results_of

if TYPE_CHECKING:
    from data.tokenizer import Tokenizer
    from evaluation.likelihood import Window
    from model.transformer import Transformer

USAGE = "python -m evaluation rescore"
OPTIONS = ("--weights", "--model", "--tokenizer", "--clean", "--scores", "--draw", "--batches", "--samples")
ALL = "all"
# Sums of the same numbers, each rounded once.
ROUNDED = 1e-12
Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Where everything lies, the seed of the draw, and how many batches and samples to draw (-1: all)."""

    weights: Path
    model: Path
    tokenizer: Path
    clean: Path
    scores: Path
    draw: int
    batches: int
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescored:
    """What was computed again. `largest` is the largest difference, in nats a token; `difference` names the first
    window that differs at all, `sample` the first continuation that does; both are empty if nothing does."""

    windows: int
    of_windows: int
    samples: int
    of_samples: int
    largest: float
    difference: str
    sample: str


def main(arguments: list[str]) -> None:
    """`RECIPE --weights DIR --model FILE --tokenizer DIR --clean DIR --scores DIR --draw SEED --batches N|all
    --samples N|all`; writes one line of JSON."""
    rest, asked = parse(arguments)
    recipe, overrides = recipe_and_overrides(rest, USAGE)
    config = load(recipe, "evaluate", ScoreConfig, overrides)
    profile = load(recipe, "profile", ProfileConfig, overrides)
    apply(profile)
    from data.tokenizer import Tokenizer
    from inference.weights import load_published, read_model_config
    from model.numerics import honour

    honour(profile)
    tokenizer = Tokenizer.open(asked.tokenizer)
    model = load_published(asked.weights, config=read_model_config(asked.model), attention=profile.attention)
    found = rescore(model, tokenizer, config=config, asked=asked)
    sys.stdout.write(f"{json.dumps(asdict(found))}\n")


def parse(arguments: Sequence[str]) -> tuple[list[str], Asked]:
    """Take the options out of the arguments. Raises ConfigError naming what is missing or no number."""
    found, rest = take(arguments, needed=OPTIONS)
    values = {option.removeprefix("--"): value for option, value in found.items()}
    batches, samples = (-1 if values[name] == ALL else _number(name, values[name]) for name in ("batches", "samples"))
    return rest, Asked(
        weights=Path(values["weights"]),
        model=Path(values["model"]),
        tokenizer=Path(values["tokenizer"]),
        clean=Path(values["clean"]),
        scores=Path(values["scores"]),
        draw=_number("draw", values["draw"]),
        batches=batches,
        samples=samples,
    )


def rescore(model: "Transformer", tokenizer: "Tokenizer", *, config: ScoreConfig, asked: Asked) -> Rescored:
    """Compute a drawn part again. Raises DataError where what was written does not follow from documents, tokenizer,
    configuration and the rest of itself."""
    from evaluation.likelihood import score_batches

    texts = read_texts(asked.clean, tokenizer, config)
    batches = texts.batches(config)
    windows = [window for batch in batches for window in batch]
    written = read_windows(asked.scores / WINDOWS, texts, windows)
    check_results(asked.scores / RESULTS, texts, windows, written)
    drawn = [batches[index] for index in draw(len(batches), seed=asked.draw, name=WINDOWS, count=asked.batches)]
    scored = score_batches(model, texts.ids, drawn, bos_id=tokenizer.bos_id)
    said = dict(zip(windows, written, strict=True))
    pairs = [(window, said[window], math.fsum(costs)) for window, costs in scored]
    first = next((pair for pair in pairs if pair[1] != pair[2]), None)
    lines = read_samples(asked.scores / SAMPLES, tokenizer, config)
    chosen = draw(len(lines), seed=asked.draw, name=SAMPLES, count=asked.samples)
    samples = [
        first_other_token(lines[index], draw_sample(model, tokenizer, config, lines[index]["prompt"]))
        for index in chosen
    ]
    return Rescored(
        windows=len(scored),
        of_windows=len(windows),
        samples=len(chosen),
        of_samples=len(lines),
        largest=max((_distance(window, one, other) for window, one, other in pairs), default=0.0),
        difference=f"{texts.line(first[0])}: {first[1]!r} nats were written, {first[2]!r} found" if first else "",
        sample=next((text for text in samples if text), ""),
    )


def read_windows(path: Path, texts: Texts, windows: Sequence["Window"]) -> list[float]:
    """The nats that were written of every window. Raises DataError if they are of other windows."""
    lines = _read_lines(path)
    nats = [float.fromhex(line.pop("nats")) for line in lines]
    wanted = [texts.line(window) for window in windows]
    for number, (line, other) in enumerate(zip(lines, wanted, strict=False), start=1):
        if line != other:
            raise DataError(f"{path} line {number} is of {line}; documents and tokenizer give {other}")
    if len(lines) != len(wanted):
        raise DataError(f"{path} has {len(lines)} windows; documents and tokenizer give {len(wanted)}")
    return nats


def check_results(path: Path, texts: Texts, windows: Sequence["Window"], nats: Sequence[float]) -> None:
    """Raise DataError if the results do not follow from the nats of the windows."""
    own: list[list[float]] = [[] for _ in texts.ids]
    for window, value in zip(windows, nats, strict=True):
        own[window.text].append(value)
    follows, said = results_of(texts, [math.fsum(values) for values in own]), _read(path)
    strange = _first_strange(said, follows)
    if strange:
        raise DataError(f"{path} does not follow from the windows' scores: {strange}")


def read_samples(path: Path, tokenizer: "Tokenizer", config: ScoreConfig) -> list[Line]:
    """The samples that were written. Raises DataError if they are not of the configured prompts, or of other ids."""
    lines = _read_lines(path)
    prompts = [line["prompt"] for line in lines]
    if prompts != config.prompts:
        raise DataError(f"{path} has samples of {prompts}; evaluate.prompts are {config.prompts}")
    for line in lines:
        if tokenizer.decode(line["ids"]) != line["text"]:
            raise DataError(f"{path}: the text after {line['prompt']!r} is not that of its token ids")
    return lines


def first_other_token(said: Line, found: Line) -> str:
    """Where a continuation that was drawn again differs; an empty string if it does not."""
    if said == found:
        return ""
    pairs = enumerate(zip(said["ids"], found["ids"], strict=False))
    at = next((place for place, (one, other) in pairs if one != other), min(len(said["ids"]), len(found["ids"])))
    written, again = (line["ids"][at : at + 4] for line in (said, found))
    return f"the sample after {said['prompt']!r} differs at token {at}: {written} written, {again} found"


def draw(size: int, *, seed: int, name: str, count: int) -> list[int]:
    """`count` of `size` places in order, or all if it is -1: a pure function of the seed."""
    ranked = sorted(range(size), key=lambda place: derive_seed(seed, "rescore", name, place))
    return sorted(ranked if count < 0 else ranked[:count])


def _distance(window: "Window", one: float, other: float) -> float:
    difference = abs(one - other) / (window.end - window.scored)
    # What is no number is as far away as can be.
    return difference if difference == difference else math.inf


def _first_strange(said: Any, follows: Any, *, at: str = "") -> str:
    """The first place where two JSON values differ by more than the rounding of sums."""
    if isinstance(said, dict) and isinstance(follows, dict):
        names = sorted(said.keys() | follows.keys())
        found = (_first_strange(said.get(name), follows.get(name), at=f"{at}.{name}".strip(".")) for name in names)
        return next((text for text in found if text), "")
    is_close = isinstance(said, float) and isinstance(follows, float) and math.isclose(said, follows, rel_tol=ROUNDED)
    return "" if said == follows or is_close else f"{at} is {said}, {follows} follows"


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--{name} is {text!r}; give a whole number")
    return int(text)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged: {error}; get the bundle again") from error


def _read_lines(path: Path) -> list[Line]:
    try:
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged: {error}; get the bundle again") from error
