from pathlib import Path
from typing import Any

from core.config import resolve
from release.recipe import TRAIN_SECTIONS, file_sources, neutral_recipe, to_yaml

CONFIGS: dict[str, dict[str, Any]] = {
    "fetch": {
        "items": [{"name": "a", "kind": "files"}, {"name": "b", "kind": "pypi", "version": "0.6"}],
        "contents": {"a": ["x"]},
    },
    "clean": {"seed": 1, "keep_dropped": True},
    "tokenizer": {"vocab_size": 300},
    "pack": {"weights": {"a": 2}, "sentencepiece": "0.2.3"},
    "evaluate": {"seed": 1, "profile": {}},
    "export": {},
}
TRAINED: dict[str, dict[str, Any]] = {"model": {"dim": 32}, "profile": {"name": "portable"}, "train": {"lr": 0.01}}


def run(path: str, *, placement: str, ranks: int) -> dict[str, Any]:
    """A resolved recipe as one machine would have it."""
    return {
        "run": {"name": "mine", "out": "/somewhere/runs"},
        "sources": {
            "cache": "/somewhere/cache",
            "items": [{"name": "a", "kind": "files", "path": path}, {"name": "b", "kind": "pypi", "version": 0.6}],
        },
        "data": {"workers": ranks, "keep_dropped": True},
        "clean": {"seed": 1},
        "tokenizer": {"vocab_size": 300},
        "pack": {"weights": {"a": 2}},
        "evaluate": {"seed": 1},
        "export": None,
        **{name: dict(TRAINED[name]) for name in TRAIN_SECTIONS},
        "train": {"lr": 1e-2, "placement": placement},
        "release": {"checkpoint_every_steps": 4},
        "launch": {"ranks": ranks},
    }


def neutral(resolved: dict[str, Any]) -> dict[str, Any]:
    release = {"checkpoint_every_steps": 4, "license": "Apache-2.0"}
    return neutral_recipe(resolved, name="mine", configs=CONFIGS, trained=TRAINED, release=release)


def test_placement_and_paths_do_not_reach_the_bundle() -> None:
    here = neutral(run("/home/one/a.txt", placement="zero1", ranks=2))
    assert here == neutral(run("corpora/a.txt", placement="fsdp2", ranks=3))
    assert here["sources"] == {
        "items": [
            {"name": "a", "kind": "files", "path": "files/a/a.txt"},
            {"name": "b", "kind": "pypi", "version": "0.6"},
        ]
    }
    assert here["train"] == {"lr": 0.01}
    assert here["pack"] == {"weights": {"a": 2}}
    assert (here["data"], here["clean"]) == ({"keep_dropped": True}, {"seed": 1})
    assert (here["run"], here["launch"]) == ({"name": "mine"}, {})


def test_a_neutral_recipe_stays_as_it_is_when_made_neutral_again(tmp_path: Path) -> None:
    once = neutral(run("/home/one/**/*.txt", placement="zero1", ranks=2))
    assert neutral(once) == once
    (tmp_path / "recipe.yaml").write_bytes(to_yaml(once))
    assert resolve(str(tmp_path / "recipe.yaml")) == once
    assert file_sources(once) == {0: Path("files/a/**/*.txt")}


def test_web_archives_lie_on_a_disk_as_files_do() -> None:
    items = [{"name": "a", "kind": "warc", "path": "files/a/*.warc.gz"}, {"name": "b", "kind": "http"}]
    assert file_sources({"sources": {"items": items}}) == {0: Path("files/a/*.warc.gz")}
