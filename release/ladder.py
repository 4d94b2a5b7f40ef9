"""The ladder: seven levels of verification, how strong the claim of each is, and what each cannot catch.

A level includes those below it. Strength: `bitwise` claims hold under one numerics profile (DESIGN.md, section 5).
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A rung: what a PASS at this level claims, how strongly, and what it leaves open."""

    name: str
    claim: str
    strength: str
    cannot_catch: str


LEVELS = {
    "V0": Level(
        name="shape",
        claim="every part that a bundle has is there, licences can be read, and the report follows from the parts",
        strength="exact, about form only",
        cannot_catch="false content",
    ),
    "V1": Level(
        name="integrity",
        claim="these are the bytes of this root; with --key, the root that this key signed",
        strength="exact (SHA-256, ed25519)",
        cannot_catch="a dishonest maker, or signer",
    ),
    "V2": Level(
        name="alive",
        claim="weights, tokenizer, files and scores belong together: two runtimes load them, and they score as stated",
        strength="bitwise under the bundle's numerics profile, else tolerance; scores by a drawn part unless --all",
        cannot_catch="scores that were not drawn; training on the test texts",
    ),
    "V3": Level(
        name="coherence",
        claim="code, data order, ledger, checkpoints and published weights tell one story that begins with the seed",
        strength="bitwise for every digest; nothing is trained",
        cannot_catch="a ledger that was invented and kept consistent, weights and all",
    ),
    "V4": Level(
        name="segment audit",
        claim="the drawn segments of the training, done again on one process, give the same bits",
        strength="bitwise, under the bundle's numerics profile",
        cannot_catch="cheating in segments that were not drawn (the chance is printed); runs that were hidden",
    ),
    "V5": Level(
        name="full replay",
        claim="everything, done again from the sources, gives the same root",
        strength="bitwise, under the bundle's numerics profile",
        cannot_catch="what the sources' papers say of them; runs that were hidden; when it was made",
    ),
    "V6": Level(
        name="independent",
        claim="another party says, by its signature, that it came to these verdicts",
        strength="that of the level it names, and your trust in that party",
        cannot_catch="that party's dishonesty",
    ),
}
DEFAULT_LEVEL = "V4"
# What the levels mean for weights that no step of training made, by the stage that made them.
OF_STAGE = {
    "merge": "merged weights are made again as a whole at V3, to the bit whatever the profile, of the weights that "
    "they were made of; V4 has nothing to draw from them; V5 does the same from the recipe",
    "quantize": "quantized weights and their errors are made again as a whole at V3, to the bit whatever the profile; "
    "their losses are only at V5",
}
UNTRAINED = "nothing was trained in this run: what the merged models were trained on and how is for their own bundles"


def say_stages(stages: Collection[str]) -> str:
    """What the levels mean for a bundle with these stages, beyond what they say of a training; a line each."""
    lines = [said for stage, said in OF_STAGE.items() if stage in stages]
    return "".join(f"{line}\n" for line in [*lines, *([UNTRAINED] if lines and "train" not in stages else [])])


def includes(level: str, other: str) -> bool:
    """Whether `level` is `other` or above it."""
    order = list(LEVELS)
    return order.index(level) >= order.index(other)
