"""Verbs of train/."""

from core.cli import Verb, main

VERBS = {
    "run": Verb("train.run:main", "train from packed tokens to checkpoints; alone or under torchrun"),
    "status": Verb("train.status:main", "say whether a run is finished, or which step is committed"),
    "serve-ranks": Verb(
        "train.zygote:main", "fork ranks as a node's keeper asks for them (launch supervise starts it)"
    ),
    "replay": Verb(
        "train.replay:main",
        "do some steps of a run again and write their numbers",
        form="RECIPE --pack DIR --start CHECKPOINT|init --until STEP --out FILE [key=value ...]",
        options={
            "--pack DIR": "the packed tokens of the run",
            "--start CHECKPOINT|init": "the state to go on from, a checkpoint's folder; init is the initial weights",
            "--until STEP": "the last step to do again",
            "--out FILE": "where the numbers go, a line of JSON a step",
            "--detail DIR": "a folder for what an audit compares within a step; default: none is kept",
        },
    ),
    "losses": Verb(
        "train.losses:main",
        "compute the loss of checkpoints on the batch that came next, and update nothing",
        form="RECIPE --pack DIR --start CHECKPOINT|init [key=value ...]",
        options={
            "--pack DIR": "the packed tokens of the run",
            "--start CHECKPOINT|init": "a checkpoint's folder, or init for the initial weights; once for every state",
        },
    ),
    "scrub": Verb(
        "train.scrub:main",
        "look for damage in checkpoints beside a run, which starts it itself",
        form="FOLDER PAUSE_S",
        options={
            "FOLDER": "the folder in which the checkpoints lie",
            "PAUSE_S": "seconds between two looks; it ends with its standard input",
        },
    ),
    "burn": Verb(
        "train.burn:main",
        "make matrix products over and over and print the hash of what came out",
        options={
            "--rounds=N": "how often each product is made; default 20",
        },
    ),
    "passport": Verb("train.passport:main", "compute a committed step's gradients again and compare with the ledger"),
    "fingerprint": Verb("train.check:fingerprint_main", "print the fingerprint of the numerics profile"),
    "plan": Verb(
        "train.plan:main",
        "say what a recipe costs: parameters, operations, memory and communication",
        options={
            "--ranks N": "ranks that train; default: those that section launch starts",
            "--node-ranks K": "ranks of a node; default train.node_ranks, else all",
            "--memory-gb G": "memory of a node, with profile cuda of a GPU; default: what this machine has",
            "--node-gb G": "with profile cuda, the node's memory; default: what this machine has",
            "--json": "as JSON; default a table",
        },
    ),
    "doctor": Verb(
        "train.doctor:main",
        "say what this machine can promise: profiles, kernels, allocator, fingerprint",
        options={
            "--json": "as JSON; default a line a check",
            "--only-profile": "nothing but whether this machine honours the profile",
        },
    ),
    "export-state": Verb(
        "train.exchange:export_main",
        "write weights and optimizer for other programs to read",
        form="RECIPE|CHECKPOINT --to FOLDER [key=value ...]",
        options={
            "CHECKPOINT": "a checkpoint's folder, in place of the recipe's last",
            "--to FOLDER": "what is written; it must not exist",
            "--format F": "safetensors (the default), or dcp for torch.distributed.checkpoint",
        },
    ),
    "import-state": Verb(
        "train.exchange:import_main",
        "make a checkpoint to start from of weights and optimizer",
        form="FOLDER RECIPE --to CHECKPOINTS [key=value ...]",
        options={
            "FOLDER": "what export-state wrote as safetensors, or a Hugging Face folder",
            "--to CHECKPOINTS": "the folder to make the checkpoint in",
        },
    ),
    "send-wandb": Verb(
        "train.wandb_online:main",
        "send a run's numbers to Weights & Biases (train.wandb=online starts it)",
        form="WITNESS",
        options={"WITNESS": "the run's folder witness/; numbers come by standard input"},
    ),
    "rates": Verb("train.rates:main", "print the learning rate of every step of a recipe"),
    "check": Verb("train.check:main", "check the sections of a recipe that train/ reads"),
}

if __name__ == "__main__":
    main("train", VERBS)
