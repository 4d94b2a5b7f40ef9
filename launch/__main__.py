"""Verbs of launch: `python -m launch VERB RECIPE [key=value ...]`."""

from core.cli import Verb, main

VERBS = {
    "run": Verb("launch.pipeline:main", "make all that a recipe describes: from its sources to a verified bundle"),
    "check": Verb("launch.check:main", "check every section of a recipe; says nothing if all is well"),
}

if __name__ == "__main__":
    main("launch", VERBS)
