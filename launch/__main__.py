"""Verbs of launch: `python -m launch VERB RECIPE [key=value ...]`."""

from core.cli import Verb, main

VERBS = {
    "run": Verb("launch.pipeline:main", "make all that a recipe describes: from its sources to a verified bundle"),
    "supervise": Verb(
        "launch.nodes:main", "train under keepers: several nodes, here or emulated, any of which may die"
    ),
    "plan": Verb("launch.plan:main", "say what audits cost, and how soon they catch a node that lies"),
    "coordinate": Verb("launch.coordinator:main", "decide which nodes train (launch supervise starts it)"),
    "keep": Verb("launch.keeper:main", "keep the ranks of one node (launch supervise starts it)"),
    "check": Verb("launch.check:main", "check every section of a recipe; says nothing if all is well"),
}

if __name__ == "__main__":
    main("launch", VERBS)
