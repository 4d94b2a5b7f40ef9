"""Verbs of train/."""

from core.cli import Verb, main

VERBS = {
    "run": Verb("train.run:main", "train from packed tokens to checkpoints; alone or under torchrun"),
    "status": Verb("train.status:main", "say whether a run is finished, or which step is committed"),
    "serve-ranks": Verb(
        "train.zygote:main", "fork ranks as a node's keeper asks for them (launch supervise starts it)"
    ),
    "replay": Verb("train.replay:main", "do some steps of a run again and write their numbers"),
    "losses": Verb(
        "train.losses:main", "compute the loss of checkpoints on the batch that came next, and update nothing"
    ),
    "scrub": Verb("train.scrub:main", "look for damage in checkpoints beside a run, which starts it itself"),
    "burn": Verb("train.burn:main", "make matrix products over and over and print the hash of what came out"),
    "passport": Verb("train.passport:main", "compute a committed step's gradients again and compare with the ledger"),
    "fingerprint": Verb("train.check:fingerprint_main", "print the fingerprint of the numerics profile"),
    "plan": Verb("train.plan:main", "say what a recipe costs: parameters, operations, memory and communication"),
    "doctor": Verb("train.doctor:main", "say what this machine can promise: profiles, kernels, allocator, fingerprint"),
    "export-state": Verb("train.exchange:export_main", "write weights and optimizer for other programs to read"),
    "import-state": Verb("train.exchange:import_main", "make a checkpoint to start from of weights and optimizer"),
    "rates": Verb("train.rates:main", "print the learning rate of every step of a recipe"),
    "check": Verb("train.check:main", "check the sections of a recipe that train/ reads"),
}

if __name__ == "__main__":
    main("train", VERBS)
