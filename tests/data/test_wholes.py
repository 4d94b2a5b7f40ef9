"""Windows of whole conversations and of pairs, and the loader over them."""

import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.errors import DataError
from data.chat import Form
from data.loader import Loader, read_record
from data.packconfig import PackConfig
from data.wholes import fill_windows
from tests.data.packs import generated_whole, write_chat_pack, write_pack

T, M, B = 80, 4, 3
DOCUMENTS = {"alpha": 60, "beta": 25}


def config(form: Form, *, shard_tokens: int = 700) -> PackConfig:
    return PackConfig(seed=1, seq_len=T, weights={"alpha": 3, "beta": 2}, shard_tokens=shard_tokens, form=form)


@pytest.fixture(scope="module", params=[Form.CONVERSATIONS, Form.PAIRS], ids=lambda form: form.value)
def pack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_pack(tmp_path_factory.mktemp("data") / "pack", config(request.param), documents=DOCUMENTS)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_pack(tmp_path_factory.mktemp("data") / "pairs", config(Form.PAIRS), documents=DOCUMENTS)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "chats"
    return write_chat_pack(folder, config(Form.CONVERSATIONS), documents=DOCUMENTS)


def open_loader(folder: Path, *, micro_batches: int = M, micro_batch: int = B) -> Loader:
    return Loader.open(folder, micro_batches=micro_batches, micro_batch=micro_batch)


def bare(row: list[int]) -> tuple[int, ...]:
    """A row without the bos at its end."""
    while row[-1] == 1:
        row = row[:-1]
    return tuple(row)


def test_best_fit_gives_the_windows_worked_out_by_hand() -> None:
    # 6 opens window 0 (4 left), 5 opens 1, 5 fills it, 3 goes to 0 (1 left), 2 opens 2, 2 goes there, 1 fills 0
    assert fill_windows([2, 5, 3, 6, 5, 2, 1], room=10) == [[3, 2, 6], [1, 4], [0, 5]]


def test_every_document_lies_in_one_window_and_windows_are_nearly_full() -> None:
    drawn = random.Random(5)
    lengths = [drawn.randint(1, 300) for _ in range(2000)]
    windows = fill_windows(lengths, room=1025)
    assert sorted(at for window in windows for at in window) == list(range(2000))
    assert all(sum(lengths[at] for at in window) <= 1025 for window in windows)
    assert len(windows) == -(-sum(lengths) // 1025)  # no packing needs fewer


def test_no_conversation_is_cut_and_an_epoch_holds_each_once(chats: Path) -> None:
    loader = open_loader(chats, micro_batches=1, micro_batch=1)
    windows = dict(zip(loader.order.names, loader.order.windows, strict=True))
    found: dict[int, list[tuple[int, ...]]] = {0: [], 1: []}
    step = 0
    while any(len(found[at]) < windows[name] for at, name in enumerate(loader.order.names)):
        step += 1
        sample = loader.order.sample(step, 0, 0, loader.shape)
        if sample.epoch == 0:
            found[sample.source].append(bare(loader.batch(step, 0)[0].tolist()))
    for at, name in enumerate(loader.order.names):
        joined = [one for row in found[at] for one in row]
        starts = [place for place, one in enumerate(joined) if one == 1]
        held = sorted(tuple(joined[a:b]) for a, b in zip(starts, [*starts[1:], len(joined)], strict=True))
        wanted = [generated_whole(name, number, Form.CONVERSATIONS).sides[0] for number in range(DOCUMENTS[name])]
        assert held == sorted(tuple(side.ids.tolist()) for side in wanted)


def test_what_counts_is_what_an_assistant_says_and_its_end(pack: Path) -> None:
    loader = open_loader(pack)
    ids, counted = loader.batch(3, 1), loader.counted(3, 1)
    assert counted is not None and counted.shape == (B * loader.rows, T) and counted.dtype == np.bool_
    for row, is_counted in zip(ids.tolist(), counted.tolist(), strict=True):
        expected, role = [], 0
        starts = [place for place, one in enumerate(row) if one == 5]
        for place, one in enumerate(row):
            is_answer = role == 5 and (loader.form is Form.CONVERSATIONS or starts[-1] < place)
            expected.append(is_answer and one not in (1, 2))
            role = one if 3 <= one <= 6 else 0 if one == 7 else role
        assert is_counted == expected[1:] and any(is_counted)


def test_padding_never_counts_and_is_a_document_a_token(pack: Path) -> None:
    loader = open_loader(pack)
    for index in range(M):
        ids, counted = loader.batch(1, index), loader.counted(1, index)
        assert counted is not None
        assert not counted[ids[:, 1:] == loader.bos_id].any()
        assert (ids[:, 0] == loader.bos_id).all()


def test_rows_of_a_pair_have_one_prompt_and_the_chosen_answer_first(pairs: Path) -> None:
    loader = open_loader(pairs)
    assert (loader.form, loader.rows) == (Form.PAIRS, 2)
    for step, index in ((1, 0), (2, 3)):
        batch, counted = loader.batch(step, index), loader.counted(step, index)
        assert batch.shape == (2 * B, T + 1) and counted is not None
        for row in range(B):
            sample = loader.order.sample(step, index, row, loader.shape)
            whole = generated_whole(loader.order.names[sample.source], sample.window, Form.PAIRS)
            for side, got in zip(whole.sides, batch[2 * row : 2 * row + 2].tolist(), strict=True):
                assert bare(got) == tuple(side.ids.tolist())
            prompt = int(counted[2 * row].argmax())
            assert batch[2 * row, : prompt + 1].tolist() == batch[2 * row + 1, : prompt + 1].tolist()


def test_targets_of_a_step_are_counted_exactly(pack: Path) -> None:
    loader = open_loader(pack)
    for step in (1, 2, 77, 10**6):
        masks = [loader.counted(step, index) for index in range(M)]
        assert loader.target_count(step) == sum(int(mask.sum()) for mask in masks if mask is not None)
        assert type(loader.target_count(step)) is int


def test_a_micro_batch_is_the_same_whatever_was_asked_before(pack: Path) -> None:
    one, other = open_loader(pack), open_loader(pack)
    wanted = [(one.batch(step, index), one.counted(step, index)) for step in (1, 2, 9) for index in range(M)]
    places = [(step, index) for step in (1, 2, 9) for index in range(M)]
    for at in random.Random(1).sample(range(len(places)), len(places)):
        ids, counted = other.batch(*places[at]), other.counted(*places[at])
        assert counted is not None and (ids == wanted[at][0]).all() and (counted == wanted[at][1]).all()


def test_the_size_of_shards_moves_no_window(pack: Path, tmp_path: Path) -> None:
    form = open_loader(pack).form
    other = write_chat_pack(tmp_path / "pack", config(form, shard_tokens=10**6), documents=DOCUMENTS)
    assert [open_loader(other).digest(step) for step in (1, 5)] == [open_loader(pack).digest(step) for step in (1, 5)]
    assert len(list(pack.glob("*.mask"))) > len(list(other.glob("*.mask"))) == 2


def test_the_digest_is_over_ids_and_mask(pack: Path) -> None:
    loader = open_loader(pack)
    digest = hashlib.sha256()
    for index in range(M):
        counted = loader.counted(4, index)
        assert counted is not None
        digest.update(loader.batch(4, index).astype("<u4").tobytes() + counted.tobytes())
    assert loader.digest(4) == digest.hexdigest()


@pytest.mark.parametrize("suffix", ["mask", "windows", "bin"])
def test_a_flipped_bit_in_a_file_of_a_pack_is_refused(pack: Path, tmp_path: Path, suffix: str) -> None:
    folder = shutil.copytree(pack, tmp_path / "pack")
    path = sorted(folder.glob(f"*.{suffix}"))[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        open_loader(folder)


def test_a_pack_of_text_has_no_mask_and_counts_all_targets(tmp_path: Path) -> None:
    plain = PackConfig(seed=1, seq_len=16, weights={"alpha": 1})
    loader = open_loader(write_pack(tmp_path / "pack", plain, documents={"alpha": 90}))
    assert loader.counted(1, 0) is None and loader.form is Form.TEXT and loader.rows == 1
    assert loader.target_count(1) == M * B * 16
    record, _ = read_record(tmp_path / "pack")
    assert record["format"] == "wholegrain-order-1" and "form" not in record
