import dataclasses
import json
import random
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from core.artifact import open_artifact
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from data.corpus.keys import read_keys
from data.course import plan_course
from data.loader import Loader, read_record
from data.mixture import Phase
from data.order import Order, Stock, order_of
from data.packconfig import BaseConfig, PackConfig, PhaseConfig, Unit
from data.parent import open_parent
from tests.conftest import run_module, write_recipe
from tests.data.packs import VOCABULARY, generated_tokens, write_clean, write_pack
from tests.data.test_course import no_repeats, visits_of
from tests.data.test_pack import texts

T = 16
DOCUMENTS = {"alpha": 40, "beta": 15}
WEIGHTS = {"alpha": 2, "beta": 1}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent") / "pack"
    return write_pack(folder, PackConfig(seed=1, seq_len=T, weights=WEIGHTS, shard_tokens=400), documents=DOCUMENTS)


def base(folder: Path, **given: Any) -> BaseConfig:
    order = folder / "order.json"
    return BaseConfig(**{"order": order, "sha256": hash_file(order), "share": 700, "consumed": 0, **given})


def child(folder: Path, **given: Any) -> PackConfig:
    settings: dict[str, Any] = {"seed": 2, "seq_len": T, "weights": {"gamma": 1}, **given}
    if "base" not in settings:
        settings["base"] = base(folder)
    return PackConfig(**settings)


def orders(*packs: Path) -> list[Order]:
    return [order_of(read_record(pack)[0]) for pack in packs]


def test_the_parents_shards_are_taken_over_by_hash_and_new_sources_stand_beside_them(
    parent: Path, tmp_path: Path
) -> None:
    pack = write_pack(tmp_path / "pack", child(parent), documents={"gamma": 30})
    record, root = read_record(pack)
    theirs = read_record(parent)[0]
    assert [source["name"] for source in record["sources"]] == ["alpha", "beta", "gamma"]
    for source, old in zip(record["sources"], theirs["sources"], strict=False):
        assert source == {**old, "seed": 1, "drawn": 0}
        for sidecar in source["shards"]:
            name = f"{sidecar['name']}.bin"
            assert (pack / name).read_bytes() == (parent / name).read_bytes()
            assert len(read_keys(pack, sidecar)) == sidecar["documents"]
    assert "seed" not in record["sources"][2]
    assert record["base"] == {
        "data_root": hash_file(parent / "order.json"),
        "share": 700,
        "consumed_samples": 0,
        "weights": WEIGHTS,
    }
    assert hash_file(pack / "parent-order.json") == record["base"]["data_root"]
    loader = Loader.open(pack, micro_batches=4, micro_batch=2)
    assert loader.root == root
    stream = np.concatenate(generated_tokens("alpha", documents=40))
    for index in range(4):
        for row, tokens in enumerate(loader.batch(9, index)):
            source, _, window = loader.order.sample(9, index, row, loader.shape)
            if source == 0:
                assert tokens.tolist() == stream[window * T : window * T + T + 1].tolist()


def test_the_copy_of_the_parents_order_beside_its_shards_serves_as_the_parent(parent: Path, tmp_path: Path) -> None:
    one = write_pack(tmp_path / "one", child(parent), documents={"gamma": 30})
    moved = dataclasses.replace(base(parent), order=one / "parent-order.json")
    other = write_pack(tmp_path / "other", child(parent, base=moved), documents={"gamma": 30})
    assert (one / "order.json").read_bytes() == (other / "order.json").read_bytes()


@pytest.mark.parametrize("share", [1, 250, 700, 999])
def test_the_base_gives_exactly_its_share_in_the_parents_ratio(parent: Path, tmp_path: Path, share: int) -> None:
    given = child(parent, base=base(parent, share=share), weights={"gamma": 3, "delta": 2})
    order = order_of(read_record(write_pack(tmp_path / "pack", given, documents={"gamma": 30, "delta": 30}))[0])
    drawn = order.drawn(15_000)
    assert {name: Fraction(count, 15_000) for name, count in drawn.items()} == {
        "alpha": Fraction(2 * share, 3000),
        "beta": Fraction(share, 3000),
        "gamma": Fraction(3 * (1000 - share), 5000),
        "delta": Fraction(2 * (1000 - share), 5000),
    }


def test_over_generations_no_window_comes_again_before_its_source_is_used_up(parent: Path, tmp_path: Path) -> None:
    source = random.Random(3)
    for number in range(6):
        consumed, later = source.randint(1, 200), source.randint(1, 200)
        phases = [
            PhaseConfig(name="warm", weights={"gamma": 1}),
            PhaseConfig(name="cool", weights={"gamma": 2}, start=source.randint(1, 150), base_share=900),
        ]
        first = base(parent, consumed=consumed, share=source.randint(1, 999))
        given = child(parent, weights={}, phases=phases, base=first)
        second = write_pack(tmp_path / f"second{number}", given, documents={"gamma": 20})
        onward = base(second, consumed=later, share=500, phase="cool")
        given = child(parent, seed=3, weights={"delta": 1}, base=onward)
        third = write_pack(tmp_path / f"third{number}", given, documents={"delta": 20})
        seen: dict[str, list[tuple[int, int]]] = {}
        windows: dict[str, int] = {}
        for order, samples in zip(orders(parent, second, third), (consumed, later, 200), strict=True):
            windows |= dict(zip(order.names, order.windows, strict=True))
            for name, visits in visits_of(order, samples).items():
                seen[name] = seen.get(name, []) + visits
        assert set(seen) == {"alpha", "beta", "gamma", "delta"}
        assert max(len(visits) / windows[name] for name, visits in seen.items()) > 1
        assert all(no_repeats(visits, windows[name]) for name, visits in seen.items())


ALONE = [Phase(start=0, weights=(1,))]


def test_a_child_that_forgot_its_parent_would_repeat_windows(parent: Path) -> None:
    (before,) = orders(parent)
    alpha = visits_of(before, 60)["alpha"]
    assert len(alpha) == 40
    kept = Stock(name="alpha", windows=before.windows[0], seed=1, drawn=40)
    for stock, is_sound in ((kept, True), (dataclasses.replace(kept, drawn=0), False)):
        after = visits_of(Order([stock], seed=2, phases=ALONE), 30)["alpha"]
        assert no_repeats(alpha + after, before.windows[0]) is is_sound
    reseeded = Order([dataclasses.replace(kept, seed=2)], seed=2, phases=ALONE)
    assert not no_repeats(alpha + visits_of(reseeded, 30)["alpha"], before.windows[0])


def test_what_the_parent_consumed_counts_for_the_limits_of_epochs(parent: Path, tmp_path: Path) -> None:
    given = child(parent, base=base(parent, consumed=90), max_epochs={"alpha": 1})
    loader = Loader.open(write_pack(tmp_path / "pack", given, documents={"gamma": 30}), micro_batches=1, micro_batch=1)
    windows, drawn = loader.order.windows[0], 60
    fitting = next(n for n in range(10_000) if loader.order.drawn(n + 1)["alpha"] > windows)
    assert loader.order.drawn(0)["alpha"] == drawn
    loader.check_run(fitting)
    with pytest.raises(ConfigError, match="source alpha would be gone through"):
        loader.check_run(fitting + 1)


def test_consumed_tokens_are_what_the_ledger_says(parent: Path) -> None:
    def drawn(**given: Any) -> list[int]:
        return [source["drawn"] for source in open_parent(base(parent, **given), seq_len=T).sources]

    assert drawn(consumed=90 * T, unit=Unit.TOKENS) == drawn(consumed=90) == [60, 30]
    with pytest.raises(ConfigError, match="no whole number of the parent's windows of 16"):
        drawn(consumed=90 * T + 1, unit=Unit.TOKENS)


def test_windows_of_another_length_start_afresh_or_not_at_all(parent: Path) -> None:
    longer = open_parent(base(parent), seq_len=2 * T)
    for source, old in zip(longer.sources, longer.record["sources"], strict=True):
        assert source["windows"] == (old["tokens"] - 1) // (2 * T)
        assert source["drawn"] == 0
    with pytest.raises(ConfigError, match=r"pack\.seq_len is 32, the parent's 16: .* start its sources afresh"):
        open_parent(base(parent, consumed=1), seq_len=2 * T)


def test_a_parent_with_phases_must_be_asked_for_one_by_name(tmp_path: Path) -> None:
    phases = [
        PhaseConfig(name="stable", weights={"alpha": 3, "beta": 1}),
        PhaseConfig(name="anneal", weights={"beta": 1}, start=10),
    ]
    folder = write_pack(tmp_path / "pack", PackConfig(seed=1, seq_len=T, phases=phases), documents=DOCUMENTS)
    assert open_parent(base(folder, phase="stable"), seq_len=T).weights == {"alpha": 3, "beta": 1}
    only = open_parent(base(folder, phase="anneal", consumed=20), seq_len=T)
    assert [(source["name"], source["drawn"]) for source in only.sources] == [("beta", 12)]
    for name in ("", "cool"):
        with pytest.raises(ConfigError, match=r"name the phase of the parent .*: stable, anneal"):
            open_parent(base(folder, phase=name), seq_len=T)


def test_a_damaged_or_missing_shard_of_the_parent_is_named(parent: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(parent, tmp_path / "copy")
    path = copy / "beta-00000.bin"
    content = path.read_bytes()
    for damaged in (content[:-1] + bytes([content[-1] ^ 1]), None):
        path.unlink()
        if damaged:
            path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"beta-00000\.bin"):
            open_parent(base(copy), seq_len=T).take_shards(tmp_path)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"sha256": "0" * 64}, DataError, "correct one of them"),
        ({"order": Path()}, ConfigError, "name the order.json of the parent"),
        ({"order": Path("nowhere/order.json")}, DataError, "no readable order.json in nowhere"),
    ],
)
def test_a_parent_that_is_not_there_or_another_is_refused(
    parent: Path, given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_parent(dataclasses.replace(base(parent), **given), seq_len=T)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sha256": ""}, "give the SHA-256 of the parent's order.json"),
        ({"share": -1}, r"share is -1; .* 0 to 1000"),
        ({"consumed": -1}, "consumed is not given"),
        ({"unit": Unit.STEPS}, "in samples or tokens"),
        ({"share": 1000}, "the base has all 1000 permille"),
    ],
)
def test_a_base_that_says_too_little_is_refused(parent: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        child(parent, base=dataclasses.replace(base(parent), **given))


def test_a_source_cannot_be_new_and_the_parents(parent: Path) -> None:
    with pytest.raises(ConfigError, match="source alpha has a weight in section pack and in its base"):
        plan_course(child(parent, weights={"alpha": 1}), {})


def test_another_tokenizer_is_refused(parent: Path) -> None:
    opened = open_parent(base(parent), seq_len=T)
    opened.check_tokenizer(str(VOCABULARY["tokenizer_sha256"]))
    with pytest.raises(ConfigError, match=r"take the parent's tokenizer over, with tokenizer\.model"):
        opened.check_tokenizer("1" * 64)


def test_a_child_is_packed_by_the_stages_and_only_with_the_parents_tokenizer(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    write_clean(tmp_path / "runs", {"alpha": texts(1, 300), "beta": texts(2, 200)}, heldout={})
    for verb in ("tokenizer", "pack"):
        ended = run_module("data", verb, recipe)
        assert ended.returncode == 0, ended.stderr
    order = Path(ended.stdout.strip()) / "order.json"
    model = next((tmp_path / "runs").glob("tokenizer-*/tokenizer.model"))
    runs = tmp_path / "child"
    write_clean(runs, {"gamma": texts(3, 100)}, heldout={"gamma": texts(4, 5)})
    settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    settings["run"]["out"] = str(runs)
    settings["sources"]["items"] = [{**settings["sources"]["items"][0], "name": "gamma"}]
    settings["pack"] |= {
        "weights": {"gamma": 1},
        "base": {"order": str(order), "sha256": hash_file(order), "share": 500, "consumed": 12},
    }
    (tmp_path / "child.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    own = [f"run.out={tmp_path / 'own'}", f"run.inputs={runs}"]
    assert run_module("data", "tokenizer", tmp_path / "child.yaml").returncode == 0
    refused = run_module("data", "pack", tmp_path / "child.yaml", *own)
    assert refused.returncode == 64
    assert "take the parent's tokenizer over" in refused.stderr
    taken = [f"tokenizer.model={model}", f"tokenizer.sha256={hash_file(model)}"]
    for verb in ("tokenizer", "pack"):
        ended = run_module("data", verb, tmp_path / "child.yaml", *taken)
        assert ended.returncode == 0, ended.stderr
    packed = open_artifact(Path(ended.stdout.strip()))
    assert list(packed.facts["sources"]) == ["gamma"]
    drawn = {name: told["drawn"] for name, told in packed.facts["parent"]["sources"].items()}
    assert drawn == {"alpha": 8, "beta": 4}
    record = json.loads((packed.folder / "order.json").read_bytes())
    assert record["phases"] == [{"start": 0, "weights": {"alpha": 2, "beta": 1, "gamma": 3}}]
    Loader.open(packed.folder, micro_batches=8, micro_batch=2).check_run(12)
    planned = run_module("data", "plan", tmp_path / "child.yaml", "--json", *taken)
    assert planned.returncode == 0, planned.stderr
    told = {source["source"]: source for source in json.loads(planned.stdout)["sources"]}
    assert {name: (one["basis"], one["windows_before"]) for name, one in told.items()} == {
        "alpha": ("parent", 8),
        "beta": ("parent", 4),
        "gamma": ("pack", 0),
    }
