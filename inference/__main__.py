"""Verbs of inference/: export a trained model, and let it complete a text."""

from core.cli import Verb, main

VERBS = {
    "export": Verb("inference.export:main", "write a Hugging Face folder, load it and compare it with ours"),
    "complete": Verb("inference.complete:main", "continue a text: RECIPE --prompt TEXT [--seed N] [--temperature X]"),
    "examine": Verb("inference.examine:main", "hold a published folder against weights, tokenizer and fingerprint"),
    "check": Verb("inference.check:main", "check the sections of a recipe that inference/ reads"),
}

if __name__ == "__main__":
    main("inference", VERBS)
