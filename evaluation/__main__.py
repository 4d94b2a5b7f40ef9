"""Verbs of evaluation/: score a trained model."""

from core.cli import Verb, main

VERBS = {
    "score": Verb("evaluation.score:main", "bits per byte on held-out documents beside two baselines, and samples"),
    "rescore": Verb("evaluation.rescore:main", "compute a drawn part of published scores and samples again"),
    "check": Verb("evaluation.check:main", "check the sections of a recipe that evaluation/ reads"),
}

if __name__ == "__main__":
    main("evaluation", VERBS)
