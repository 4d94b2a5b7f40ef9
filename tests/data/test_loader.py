import hashlib
import json
import random
import shutil
import subprocess
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import data.digests
import data.permutation
from core.errors import ConfigError, DataError
from core.hashing import hash_value
from data.loader import Loader
from data.order import StepShape
from data.packconfig import PackConfig
from tests.conftest import run_module
from tests.data.packs import generated_tokens, write_pack

T, M, B = 16, 8, 4
DOCUMENTS = {"alpha": 90, "beta": 25, "gamma": 40}
GOLDEN_ROOT = "46141be8ef6da1518cd9f96a7e7416b1207e312d991e90aa6d24d85071a3beca"
GOLDEN_DIGESTS = {
    1: "d3eee947c25f445bdc3eca721051be2f721d6c488e79403389a5582386dc92d5",
    2: "a2c70fde04af5e6adda8e01f82b9307debd594b5f56e857ce26a464298e5507d",
    240: "1a41c41016d36c678370574955930340b540bc79c8a35da4e339c6c2aaa3ed66",
    10**9: "8cb1c4d6d9a70fcba3d6e5841c6281a31694a581ac6805bb84045f7b4b8e13de",
}


def config(*, seed: int = 1, shard_tokens: int = 500) -> PackConfig:
    return PackConfig(seed=seed, seq_len=T, weights={"alpha": 3, "beta": 2, "gamma": 2}, shard_tokens=shard_tokens)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("data") / "pack", config(), documents=DOCUMENTS)


def open_loader(folder: Path, *, micro_batches: int = M, micro_batch: int = B) -> Loader:
    return Loader.open(folder, micro_batches=micro_batches, micro_batch=micro_batch)


def all_samples(loader: Loader, steps: range) -> list[tuple[int, int, int]]:
    """Every sample of steps, in the order of step, index and row."""
    shape = loader.shape
    places = ((step, index, row) for step in steps for index in range(M) for row in range(B))
    return [loader.order.sample(*place, shape) for place in places]


def test_the_order_is_the_same_on_every_machine_and_in_every_version_of_numpy(pack: Path) -> None:
    loader = open_loader(pack)
    assert loader.root == GOLDEN_ROOT == hashlib.sha256((pack / "order.json").read_bytes()).hexdigest()
    assert {step: loader.digest(step) for step in GOLDEN_DIGESTS} == GOLDEN_DIGESTS


def test_a_batch_holds_the_tokens_of_the_windows_that_the_order_names(pack: Path) -> None:
    loader = open_loader(pack)
    streams = [np.concatenate(generated_tokens(name, documents=count)) for name, count in sorted(DOCUMENTS.items())]
    for step, index in ((1, 0), (7, 7), (1_000_000, 3)):
        batch = loader.batch(step, index)
        assert batch.shape == (B, T + 1)
        assert batch.dtype == np.int64
        for row in range(B):
            source, _, window = loader.order.sample(step, index, row, loader.shape)
            assert batch[row].tolist() == streams[source][window * T : window * T + T + 1].tolist()


def test_a_digest_is_the_hash_of_the_batches_in_index_order(pack: Path) -> None:
    loader = open_loader(pack)
    content = b"".join(loader.batch(5, index).astype("<u4").tobytes() for index in range(M))
    assert loader.digest(5) == hashlib.sha256(content).hexdigest()


def test_every_token_but_the_first_is_a_target_once_an_epoch_up_to_the_counted_rest(tmp_path: Path) -> None:
    only = PackConfig(seed=1, seq_len=T, weights={"beta": 1})
    loader = open_loader(write_pack(tmp_path / "pack", only, documents={"beta": 25}), micro_batches=1, micro_batch=1)
    stream = np.concatenate(generated_tokens("beta", documents=25))
    (source,) = json.loads((tmp_path / "pack/order.json").read_bytes())["sources"]
    windows = source["windows"]
    assert source["tokens"] == len(stream) == 1 + windows * T + source["unused_tokens"]
    assert 0 <= source["unused_tokens"] < T
    batches = {
        loader.order.sample(step, 0, 0, loader.shape).window: loader.batch(step, 0) for step in range(1, windows + 1)
    }
    targets = np.concatenate([batches[window][0, 1:] for window in range(windows)])
    assert targets.tolist() == stream[1 : 1 + windows * T].tolist()


def test_every_window_of_a_source_is_seen_equally_often_give_or_take_one(pack: Path) -> None:
    loader = open_loader(pack)
    steps = 40
    seen = Counter((source, window) for source, _, window in all_samples(loader, range(1, steps + 1)))
    for source, (name, windows) in enumerate(zip(loader.order.names, loader.order.windows, strict=True)):
        times = [seen[source, window] for window in range(windows)]
        epochs = loader.order.epochs(steps * M * B)[name]
        assert epochs > 2
        assert {min(times), max(times)} <= {int(epochs), int(epochs) + 1}
        assert sum(times) == round(epochs * windows)


def test_after_every_step_each_source_is_within_a_sample_of_its_share(pack: Path) -> None:
    loader = open_loader(pack)
    drawn: Counter[int] = Counter()
    for step in range(1, 60):
        drawn.update(source for source, _, _ in all_samples(loader, range(step, step + 1)))
        samples = step * M * B
        assert all(abs(drawn[source] - samples * weight / 7) <= 1 - 1 / 4 for source, weight in enumerate((3, 2, 2)))


def test_the_order_is_the_same_whoever_asks_and_whenever(pack: Path) -> None:
    steps = range(1, 13)
    alone = open_loader(pack)
    expected = {(step, index): alone.batch(step, index).tobytes() for step in steps for index in range(M)}
    for world in (1, 2, 3, 4):
        seen = {}
        for rank in range(world):
            loader = open_loader(pack)
            places = [(step, index) for step in steps for index in range(rank, M, world)]
            random.Random(rank).shuffle(places)
            seen.update({place: loader.batch(*place).tobytes() for place in places})
        assert seen == expected


def test_cutting_a_step_into_other_micro_batches_does_not_change_what_it_holds(pack: Path) -> None:
    assert open_loader(pack, micro_batches=4, micro_batch=8).digest(9) == open_loader(pack).digest(9)
    assert open_loader(pack, micro_batches=4, micro_batch=4).digest(9) != open_loader(pack).digest(9)


def test_no_micro_batch_keeps_the_company_that_the_period_of_the_mixture_would_give_it(tmp_path: Path) -> None:
    two = PackConfig(seed=1, seq_len=T, weights={"alpha": 1, "beta": 1})
    folder = write_pack(tmp_path / "pack", two, documents={"alpha": 40, "beta": 40})
    loader = open_loader(folder, micro_batches=8, micro_batch=1)
    first = [loader.order.sample(step, 0, 0, loader.shape).source for step in range(1, 101)]
    # sample by sample the sources take turns, so without the permutation of a step micro-batch 0 would see only alpha
    assert 30 < sum(first) < 70


def test_another_seed_gives_another_order_of_the_same_windows(pack: Path, tmp_path: Path) -> None:
    other = write_pack(tmp_path / "pack", config(seed=2), documents=DOCUMENTS)
    one, changed = open_loader(pack), open_loader(other)
    assert one.digest(1) != changed.digest(1)
    assert one.root != changed.root


def test_epochs_differ_from_each_other(pack: Path) -> None:
    order = open_loader(pack, micro_batches=1, micro_batch=1).order
    shape = StepShape(micro_batches=1, micro_batch=1)
    by_epoch: dict[int, list[int]] = {}
    for step in range(1, 2000):
        source, epoch, window = order.sample(step, 0, 0, shape)
        if source == 1:
            by_epoch.setdefault(epoch, []).append(window)
    whole = [windows for windows in by_epoch.values() if len(windows) == order.windows[1]]
    assert len(whole) >= 5
    assert all(sorted(windows) == list(range(order.windows[1])) for windows in whole)
    assert len({tuple(windows) for windows in whole}) == len(whole)


def test_the_size_of_the_shards_does_not_change_a_batch(pack: Path, tmp_path: Path) -> None:
    whole = write_pack(tmp_path / "pack", config(shard_tokens=10**6), documents=DOCUMENTS)
    assert len(list(pack.glob("*.bin"))) > len(list(whole.glob("*.bin"))) == 3
    assert [open_loader(pack).digest(step) for step in range(1, 20)] == [
        open_loader(whole).digest(step) for step in range(1, 20)
    ]


def test_any_step_is_reached_at_once_and_nothing_is_kept(pack: Path) -> None:
    loader = open_loader(pack)
    loader.batch(10**15, 0)
    tracemalloc.start()
    for step in range(1, 500):
        loader.batch(step * 10**9, step % M)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 20  # the cache of permutations, which has a limit


@pytest.mark.parametrize(("step", "index"), [(0, 0), (-1, 0), (1, M), (1, -1)])
def test_a_batch_that_does_not_exist_is_refused(pack: Path, step: int, index: int) -> None:
    with pytest.raises(ConfigError, match=r"steps count from 1|not one of 0\.\.7"):
        open_loader(pack).batch(step, index)


def test_a_shape_of_nothing_is_refused(pack: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1 of 1"):
        open_loader(pack, micro_batches=0)


def test_a_flipped_bit_in_any_shard_stops_with_exit_66_and_its_name(pack: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pack, tmp_path / "pack")
    for path in sorted([*folder.glob("*.bin"), *folder.glob("*.idx")]):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(DataError, match=path.name):
            open_loader(folder)
        path.write_bytes(content)
    open_loader(folder)
    (folder / "gamma-00001.bin").write_bytes(b"")
    ended = digests(folder, "--micro-batches", M, "--micro-batch", B)
    assert ended.returncode == 66
    assert "gamma-00001.bin" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"format":"wholegrain-order-0"}', b"[]"])
def test_a_missing_or_foreign_order_is_refused(pack: Path, tmp_path: Path, content: bytes | None) -> None:
    folder = shutil.copytree(pack, tmp_path / "pack")
    (folder / "order.json").unlink()
    if content is not None:
        (folder / "order.json").write_bytes(content)
    with pytest.raises(DataError, match=r"order\.json"):
        open_loader(folder)


def test_a_changed_algorithm_does_not_pass_for_the_old_one(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.permutation.keyed.cache_clear()
    monkeypatch.setattr(data.permutation, "ROUNDS", 5)
    with pytest.raises(DataError, match="another data order"):
        open_loader(pack)
    data.permutation.keyed.cache_clear()


@pytest.mark.parametrize(
    ("path", "value"), [(("seed",), 2), (("sources", 1, "windows"), 11), (("vectors", "samples", 3, "window"), 12)]
)
def test_an_edited_order_is_refused_even_under_a_new_seal(
    pack: Path, tmp_path: Path, path: tuple[str | int, ...], value: int
) -> None:
    folder = shutil.copytree(pack, tmp_path / "pack")
    record = json.loads((folder / "order.json").read_bytes())
    place = record
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (folder / "order.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"order\.json is damaged"):
        open_loader(folder)
    del record["seal"]
    (folder / "order.json").write_text(json.dumps({**record, "seal": hash_value(record)}))
    with pytest.raises(DataError, match="another data order"):
        open_loader(folder)


def test_no_flipped_bit_in_the_order_passes(pack: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pack, tmp_path / "pack")
    content = (folder / "order.json").read_bytes()
    for at in range(0, len(content), 7):
        (folder / "order.json").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(DataError, match=r"order\.json"):
            open_loader(folder)


def digests(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_module("data", "digests", "--pack", folder, "--steps", 3, *arguments)


def test_another_process_prints_the_digests_of_the_steps(pack: Path, tiny_recipe: Path) -> None:
    expected = [open_loader(pack).digest(step) for step in (1, 2, 3)]
    ended = digests(pack, "--micro-batches", M, "--micro-batch", B)
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, expected, "")
    # the tiny recipe trains on 8 micro-batches of 2
    other = [open_loader(pack, micro_batch=2).digest(step) for step in (1, 2, 3)]
    ended = run_module("data", "digests", tiny_recipe, "--pack", pack, "--steps", 3)
    assert (ended.returncode, ended.stdout.split()) == (0, other)


@pytest.mark.parametrize("arguments", [[], ["--micro-batches", "x"], ["--frobnicate"], ["--steps", 0]])
def test_digests_without_a_shape_or_with_strange_arguments_are_refused(pack: Path, arguments: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"micro-batch|frobnicate|at least 1"):
        data.digests.main(["--pack", str(pack), "--steps", "3", *map(str, arguments)])
