"""Verbs of launch: `python -m launch VERB RECIPE [key=value ...]`."""

from core.cli import Verb, main

VERBS = {
    "run": Verb("launch.pipeline:main", "make all that a recipe describes: from its sources to a verified bundle"),
    "supervise": Verb(
        "launch.nodes:main", "train under keepers: several nodes, here or emulated, any of which may die"
    ),
    "join": Verb("launch.join:main", "be one node of a run that launch supervise coordinates elsewhere"),
    "drill": Verb("launch.drill:main", "inject faults of every class into runs under keepers; compare hashes"),
    "plan": Verb("launch.plan:main", "say what audits cost, and how soon they catch a node that lies"),
    "coordinate": Verb("launch.coordinator:main", "decide which nodes train (launch supervise starts it)"),
    "keep": Verb("launch.keeper:main", "keep the ranks of one node (launch supervise starts it)"),
    "check": Verb("launch.check:main", "check every section of a recipe; says nothing if all is well"),
    "render": Verb("launch.render:render_main", "write a recipe's training as a job for launch=slurm, k8s_jobset, ..."),
    "submit": Verb("launch.render:submit_main", "hand that job to its scheduler; --dry-run shows it"),
    "node": Verb("launch.node:main", "train as one node of several, once, for schedulers that read exit codes"),
    "preflight": Verb("launch.preflight:main", "look at every node before a run: memory, disk, network, numbers"),
    "probe": Verb("launch.probe:main", "one node's part of it (launch preflight starts it)"),
    "goodput": Verb("launch.goodput:main", "say where the time of a run went, every second counted once"),
    "quarantined": Verb("launch.excluded:main", "print the nodes that a run leaves alone now"),
    "simulate": Verb("launch.simulate:main", "say how much of its time a large job would train, by how it is built"),
    "attempt": Verb("launch.attempts:main", "say how far a run is and count an attempt; ends with 65 after too many"),
}

if __name__ == "__main__":
    main("launch", VERBS)
