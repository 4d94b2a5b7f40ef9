"""Verbs of posttrain/: what is made of finished weights without a step of training."""

from core.cli import Verb, main

VERBS = {
    "merge": Verb("posttrain.merge:main", "merge the weights of several models of one shape"),
    "quantize": Verb("posttrain.quantize:main", "round the weights of the model before to 8 or 4 bits"),
    "redo": Verb(
        "posttrain.redo:main",
        "make merged or quantized weights again of given files, and print their hashes",
        form="RECIPE --stage S --files JSON --out DIR [key=value ...]",
        options={
            "--stage S": "merge or quantize",
            "--files JSON": "the weight files, a JSON list of paths",
            "--out DIR": "the folder to write",
        },
    ),
    "fingerprint": Verb("posttrain.check:fingerprint_main", "print the fingerprint of the numerics profile"),
    "check": Verb("posttrain.check:main", "check the sections of a recipe that posttrain/ reads"),
}

if __name__ == "__main__":
    main("posttrain", VERBS)
