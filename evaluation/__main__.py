"""Verbs of evaluation/: score a trained model."""

from core.cli import Verb, main

VERBS = {
    "score": Verb("evaluation.score:main", "bits per byte on held-out documents beside two baselines, and samples"),
    "rescore": Verb(
        "evaluation.rescore:main",
        "compute a drawn part of published scores and samples again",
        form=(
            "RECIPE --weights DIR --model FILE --tokenizer DIR --clean DIR --scores DIR --draw SEED --batches N|all "
            "--samples N|all [key=value ...]"
        ),
        options={
            "--weights DIR": "the published folder",
            "--model FILE": "the model's configuration",
            "--tokenizer DIR": "the tokenizer's artifact",
            "--clean DIR": "the cleaned documents",
            "--scores DIR": "the scores that were published",
            "--draw SEED": "decides what is computed again",
            "--batches N|all": "how many batches",
            "--samples N|all": "how many samples",
        },
    ),
    "check": Verb("evaluation.check:main", "check the sections of a recipe that evaluation/ reads"),
}

if __name__ == "__main__":
    main("evaluation", VERBS)
