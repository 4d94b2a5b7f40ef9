"""Verbs of inference/: export a trained model, and let it complete a text."""

from core.cli import Verb, main

VERBS = {
    "export": Verb("inference.export:main", "write a Hugging Face folder, load it and compare it with ours"),
    "complete": Verb(
        "inference.complete:main",
        "continue a text, or answer it",
        form="RECIPE --prompt TEXT [key=value ...]",
        options={
            "--prompt TEXT": "the text",
            "--chat": "the prompt is what a user says; write the answer alone",
            "--max-tokens N": "when to stop at the latest; default 100",
            "--temperature X": "0 takes the likeliest token; default 0.8",
            "--top-p P": "the share of probability to draw from; default 0.95",
            "--seed N": "the same seed gives the same text; default 0",
        },
    ),
    "examine": Verb(
        "inference.examine:main",
        "hold a published folder against weights, tokenizer and fingerprint",
        form="RECIPE --weights DIR --model FILE --tokenizer DIR --clean DIR --fingerprint FILE [key=value ...]",
        options={
            "--weights DIR": "the published folder",
            "--model FILE": "the model's configuration",
            "--tokenizer DIR": "the tokenizer's artifact",
            "--clean DIR": "the cleaned documents",
            "--fingerprint FILE": "the logits that were published",
        },
    ),
    "check": Verb("inference.check:main", "check the sections of a recipe that inference/ reads"),
}

if __name__ == "__main__":
    main("inference", VERBS)
