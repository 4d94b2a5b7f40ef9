"""Verbs of train/."""

from core.cli import Verb, main

VERBS = {
    "run": Verb("train.run:main", "train from packed tokens to checkpoints; alone or under torchrun"),
    "replay": Verb("train.replay:main", "do some steps of a run again and write their numbers"),
    "scrub": Verb("train.scrub:main", "look for damage in checkpoints beside a run, which starts it itself"),
    "fingerprint": Verb("train.check:fingerprint_main", "print the fingerprint of the numerics profile"),
    "plan": Verb("train.plan:main", "say what a recipe costs: parameters, operations, memory and communication"),
    "doctor": Verb("train.doctor:main", "say what this machine can promise: profiles, kernels, allocator, fingerprint"),
    "rates": Verb("train.rates:main", "print the learning rate of every step of a recipe"),
    "check": Verb("train.check:main", "check the sections of a recipe that train/ reads"),
}

if __name__ == "__main__":
    main("train", VERBS)
