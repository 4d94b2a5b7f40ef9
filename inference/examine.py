"""Verb examine: is a published folder what stage export writes of these weights, and does it say what the model says?

The folder's files are made again from its weights, the tokenizer and the configuration, and compared byte for byte, so
a chat template, a flag or a file that was added shows. Its logits are held against the fingerprint that stage evaluate
took, computed by our runtime and by transformers, whose code shares nothing with ours but torch; and so are the token
ids of held-out text.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.arguments import take
from core.cli import recipe_and_overrides
from core.config import load
from core.errors import DataError
from core.profile import ProfileConfig, apply
from inference.config import ExportConfig

if TYPE_CHECKING:
    from data.tokenizer import Tokenizer
    from model.transformer import Transformer

USAGE = "python -m inference examine"
OPTIONS = ("--weights", "--model", "--tokenizer", "--clean", "--fingerprint")
# Written by stage export, too, and not from the weights.
TOLD = ("README.md", "comparison.json")
# Of every source; stage export has compared more.
DOCUMENTS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What was found: the first file that comes out otherwise (or an empty string), whether our logits have the
    fingerprint's SHA-256, the largest differences of its values by our runtime and by transformers, and the bound that
    stage export took for the latter."""

    file: str
    is_same: bool
    ours: float
    theirs: float
    bound: float
    documents: int


def main(arguments: list[str]) -> None:
    """`RECIPE --weights DIR --model FILE --tokenizer DIR --clean DIR --fingerprint FILE`; writes one line of JSON."""
    rest, given = parse(arguments)
    recipe, overrides = recipe_and_overrides(rest, USAGE)
    config = load(recipe, "export", ExportConfig, overrides)
    profile = load(recipe, "profile", ProfileConfig, overrides)
    apply(profile)
    from data.tokenizer import Tokenizer
    from inference.weights import load_published, read_model_config
    from model.numerics import honour

    honour(profile)
    tokenizer = Tokenizer.open(given["--tokenizer"])
    shape = read_model_config(given["--model"])
    model = load_published(given["--weights"], config=shape, attention=profile.attention)
    sys.stdout.write(f"{json.dumps(asdict(examine(model, tokenizer, given=given, config=config)))}\n")


def parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, Path]]:
    """Take the options out of the arguments. Raises ConfigError naming what is missing."""
    found, rest = take(arguments, needed=OPTIONS)
    return rest, {option: Path(value) for option, value in found.items()}


def examine(
    model: "Transformer", tokenizer: "Tokenizer", *, given: Mapping[str, Path], config: ExportConfig
) -> Examined:
    """Examine a folder. Raises DataError if the fingerprint is of other ids, or the folder's tokenizer gives others."""
    from inference.fingerprint import fingerprint_of, largest_difference

    folder = given["--weights"]
    said, ours = _read(given["--fingerprint"]), fingerprint_of(model, bos_id=tokenizer.bos_id)
    if said.get("ids") != ours["ids"]:
        raise DataError(f"{given['--fingerprint']} is of other ids than the vocabulary gives; get the bundle again")
    return Examined(
        file=first_other_file(folder, model, tokenizer, tokenizer_model=given["--tokenizer"] / "tokenizer.model"),
        is_same=said == ours,
        ours=largest_difference(said["logits"], ours["logits"]),
        theirs=_by_transformers(folder, said),
        bound=config.max_logit_difference,
        documents=_check_ids(folder, tokenizer, given["--clean"]),
    )


def first_other_file(folder: Path, model: "Transformer", tokenizer: "Tokenizer", *, tokenizer_model: Path) -> str:
    """The first file of a folder that stage export does not write like this; an empty string if there is none."""
    from inference.huggingface import write_model, write_tokenizer

    with tempfile.TemporaryDirectory(prefix="wholegrain-export-") as scratch:
        again = Path(scratch)
        write_model(again, model, tokenizer=tokenizer)
        write_tokenizer(again, tokenizer_model, max_seq_len=model.config.max_seq_len)
        made = {path.name: path.read_bytes() for path in again.iterdir()}
    held = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted((made.keys() | held.keys()) - set(TOLD)):
        if name not in made:
            return f"{name}, which stage export does not write"
        if name not in held:
            return f"{name}, which is missing"
        if held[name].read_bytes() != made[name]:
            return f"{name}, which stage export writes otherwise"
    return ""


def _by_transformers(folder: Path, said: Mapping[str, Any]) -> float:
    """How far the logits of transformers are from a fingerprint."""
    import torch

    from inference.fingerprint import facts_of, largest_difference
    from inference.huggingface import transformers

    theirs = transformers().AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).eval()
    with torch.inference_mode():
        logits_TV = theirs(torch.tensor([said["ids"]])).logits[0].float().contiguous()
    return largest_difference(said["logits"], facts_of(logits_TV)["logits"])


def _check_ids(folder: Path, tokenizer: "Tokenizer", clean: Path) -> int:
    """Raise DataError if transformers gives other ids of held-out text by the folder's tokenizer.json."""
    from inference.compare import heldout_sample
    from inference.huggingface import transformers

    theirs = transformers().AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    documents = heldout_sample(clean, per_source=DOCUMENTS)
    for document in documents:
        if theirs(document.said)["input_ids"] != [tokenizer.bos_id, *tokenizer.encode(document.said)]:
            raise DataError(f"{folder}/tokenizer.json gives held-out document {document.key} other ids than the run's")
    return len(documents)


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged: {error}; get the bundle again") from error
    return record
