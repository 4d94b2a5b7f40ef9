"""Verbs of launch: `python -m launch VERB RECIPE [key=value ...]`."""

from core.cli import Verb, main

VERBS = {
    "run": Verb(
        "launch.pipeline:main",
        "make all that a recipe describes: from its sources to a verified bundle",
        options={
            "--dry-run": "check the recipe and write the command of every stage instead",
        },
    ),
    "supervise": Verb(
        "launch.nodes:main",
        "train under keepers: several nodes, here or emulated, any of which may die",
        options={
            "--attempt": "for schedulers: a finished run is left alone, attempts without progress are counted",
        },
    ),
    "join": Verb(
        "launch.join:main",
        "be one node of a run that launch supervise coordinates elsewhere",
        options={
            "--node NAME": "what this node is called; default Slurm's name for it, else the host's",
            "--host ADDRESS": "where the others reach it; default: the address towards the coordinator",
        },
    ),
    "drill": Verb("launch.drill:main", "inject faults of every class into runs under keepers; compare hashes"),
    "plan": Verb("launch.plan:main", "say what audits cost, and how soon they catch a node that lies"),
    "coordinate": Verb(
        "launch.coordinator:main",
        "decide which nodes train (launch supervise starts it)",
        form="PLACE",
        options={
            "PLACE": "a JSON file that launch supervise writes",
        },
    ),
    "keep": Verb(
        "launch.keeper:main",
        "keep the ranks of one node (launch supervise starts it)",
        form="PLACE NODE",
        options={
            "PLACE": "a JSON file that launch supervise writes",
            "NODE": "the node's name",
        },
    ),
    "fields": Verb(
        "launch.fields:main",
        "print the fields that a recipe may have: type, default, what each is",
        form="[SECTION|SECTION.FIELD]",
        options={"SECTION": "such as train; default all", "SECTION.FIELD": "such as train.spikes or train.lr"},
    ),
    "check": Verb("launch.check:main", "check every section of a recipe; says nothing if all is well"),
    "render": Verb(
        "launch.render:render_main",
        "write a recipe's training as a job for launch=slurm, k8s_jobset, ...",
        options={
            "--out FILE": "where the job goes; default standard output",
        },
    ),
    "submit": Verb(
        "launch.render:submit_main",
        "hand that job to its scheduler; --dry-run shows it",
        options={
            "--dry-run": "show the job and the scheduler's command instead",
        },
    ),
    "node": Verb(
        "launch.node:main",
        "train as one node of several, once, for schedulers that read exit codes",
        options={
            "--node N": "this node's number from 0; default: what the scheduler says",
            "--meet HOST:PORT": "where node 0 waits for the others; default: what the scheduler says",
        },
    ),
    "preflight": Verb(
        "launch.preflight:main",
        "look at every node before a run: memory, disk, network, numbers",
        options={
            "--json": "as JSON; default a table",
        },
    ),
    "probe": Verb(
        "launch.probe:main",
        "one node's part of it (launch preflight starts it)",
        form="RECIPE --folder DIR [key=value ...]",
        options={
            "--folder DIR": "where the preflight meets its probes",
            "--node N": "this node's number; default SLURM_NODEID",
        },
    ),
    "goodput": Verb(
        "launch.goodput:main",
        "say where the time of a run went, every second counted once",
        options={
            "--json": "as JSON; default a table",
        },
    ),
    "quarantined": Verb("launch.excluded:main", "print the nodes that a run leaves alone now"),
    "simulate": Verb(
        "launch.simulate:main",
        "say how much of its time a large job would train, by how it is built",
        form="",
        options={
            "--gpus N,N,...": "sizes of the job; default 16,128,1024,4096,16384,24000",
            "--rate R": "whose failures: llama3 (the default), meta_1k or meta_16k",
            "--days D": "how long the job is; default 54",
            "--seeds S": "how many lives are averaged; default 10",
            "--detail N": "where the time of a job of N GPUs goes, instead",
            "--drill FOLDER": "hold the model against a drill's folder, instead",
        },
    ),
    "attempt": Verb("launch.attempts:main", "say how far a run is and count an attempt; ends with 65 after too many"),
}

if __name__ == "__main__":
    main("launch", VERBS)
