"""Evaluation in the loop: the same numbers at any placement, beside a training that goes on as if there were none."""

import json
import math
import os
import shutil
import signal
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.artifact import current, verify_files
from core.config import load
from core.errors import DataError
from core.ledger import first_difference, read_lines
from core.profile import Attention
from data.documents import read_documents
from data.heldout import Heldout
from data.tokenizer import Tokenizer
from model.config import ModelConfig
from model.transformer import Transformer
from tests.conftest import run_module
from tests.train.conftest import HELDOUT_TOKENS
from tests.train.ranks import call, run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of
from train import loop
from train.heldout import Scores
from train.replay import main as replay
from train.run import main as run

SHORT = ("train.steps=10", "train.save_every_steps=4")
EVALUATED = (*SHORT, "train.eval_every_steps=3")
STEPS = [3, 6, 9, 10]
RANKS = 3


@pytest.fixture(scope="module")
def whole(measured: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated run of one process."""
    return trained(measured, tmp_path_factory.mktemp("whole"), *EVALUATED)


def trained(tiny: Tiny, out: Path, *overrides: str, ranks: int = 1) -> Path:
    ended = run_ranks(ranks, run, [tiny.arguments(out / "runs", *overrides)], notes=out / "notes")
    assert ended.exit_codes == [0] * ranks, ended.messages
    return out / "runs"


def lines(out: Path) -> list[dict[str, Any]]:
    """The numbers of all steps."""
    steps = read_lines(finished_folder(out) / "ledger.jsonl")[1:]
    return [{name: value for name, value in line.items() if name != "prev"} for line in steps]


def pack_of(tiny: Tiny) -> Path:
    return current(tiny.inputs, "pack").folder


def test_evaluation_leaves_the_rest_of_the_ledger_and_the_weights_as_they_are(
    tiny: Tiny, measured: Tiny, whole: Path, tmp_path: Path
) -> None:
    without = trained(tiny, tmp_path, *SHORT)
    assert [{name: value for name, value in line.items() if name != "eval"} for line in lines(whole)] == lines(without)
    assert [line["step"] for line in lines(whole) if "eval" in line] == STEPS
    assert not any("eval" in line for line in lines(without))
    one, other = result_of(whole), result_of(without)
    assert (one.weights, one.moments) == (other.weights, other.moments)
    assert one.trajectory_head != other.trajectory_head
    order = [(pack_of(which) / "order.json").read_bytes() for which in (tiny, measured)]
    assert order[0] == order[1]


def by_hand(recipe: str, weights: str, texts: Sequence[tuple[str, list[list[int]]]], seq_len: int) -> dict[str, float]:
    """Nats of the text of each source: window by window, from the logits, in double precision."""
    model = Transformer(load(recipe, "model", ModelConfig), Attention.EXPLICIT)
    model.load_state_dict(load_file(weights))
    nats = {}
    for name, documents in texts:
        stream = [token for ids in documents for token in (1, *ids, 2)]
        nats[name] = 0.0
        for start in range(0, len(stream) - 1, seq_len):
            window = torch.tensor([stream[start : start + seq_len + 1]])
            with torch.no_grad():
                logits = model(window[:, :-1], (window[:, :-1] == 1).cumsum(1))
            costs = -logits.double().log_softmax(-1)[0].gather(1, window[0, 1:, None])[:, 0]
            nats[name] += float(costs[window[0, 1:] > 2].sum())
    return nats


def test_the_numbers_are_those_of_the_held_out_documents_by_hand(tiny: Tiny, whole: Path) -> None:
    tokenizer = Tokenizer.open(current(tiny.inputs, "tokenizer").folder)
    texts, sizes = [], []
    for path in sorted((current(tiny.inputs, "clean").folder / "heldout").glob("*.jsonl")):
        documents = list(read_documents(path))
        count = len(documents)
        while sum(len(tokenizer.encode(one.text)) + 2 for one in documents[:count]) > HELDOUT_TOKENS:
            count -= 1
        assert 0 < count < len(documents), "the budget cuts"
        texts.append((path.stem, [tokenizer.encode(one.text) for one in documents[:count]]))
        sizes.append(sum(len(one.text.encode()) for one in documents[:count]))
    weights = finished_folder(whole) / "checkpoints" / "step-000010" / "model.safetensors"
    nats = call(by_hand, str(tiny.recipe), str(weights), texts, 32)
    told = lines(whole)[-1]["eval"]
    assert list(told["sources"]) == ["alpha", "beta"] == list(nats)
    tokens = [sum(map(len, documents)) for _, documents in texts]
    expected = [(told["sources"][name], nats[name], *counts) for name, *counts in zip(nats, tokens, sizes, strict=True)]
    for score, cost, count, size in [*expected, (told, sum(nats.values()), sum(tokens), sum(sizes))]:
        # Ours adds fp32 costs in fp32, a batch of 64 at a time.
        assert float.fromhex(score["loss"]) == pytest.approx(cost / count, rel=1e-6)
        assert float.fromhex(score["bits_per_byte"]) == pytest.approx(cost / math.log(2) / size, rel=1e-6)


PLACEMENTS = [
    (RANKS, ("placement=replicated", "is_recomputed=true")),
    (2, ("placement=fsdp2", "is_resharded=false")),
    (4, ("placement=hsdp", "node_ranks=2", "is_resharded=false")),
    (2, ("placement=deepspeed1",)),
    (2, ("placement=deepspeed3",)),
]


@pytest.mark.parametrize(("ranks", "how"), PLACEMENTS)
def test_any_placement_and_world_size_gives_the_run_of_one_process(
    ranks: int, how: tuple[str, ...], measured: Tiny, whole: Path, tmp_path: Path
) -> None:
    if "deepspeed" in how[0] and not find_spec("deepspeed"):
        pytest.skip("deepspeed is not installed")
    out = trained(measured, tmp_path, *EVALUATED, *(f"train.{field}" for field in how), ranks=ranks)
    assert lines(out) == lines(whole)
    assert result_of(out).weights == result_of(whole).weights


def test_ranks_may_have_no_batch_or_nothing_to_do_at_all(measured: Tiny, tmp_path: Path) -> None:
    assert len(Heldout.open(pack_of(measured), seq_len=32, micro_batch=2).batches) % RANKS, "some turns are dummies"
    shape = (f"train.micro_batches={RANKS}", "train.steps=4", "train.eval_every_steps=3", "train.placement=fsdp2")
    alone = trained(measured, tmp_path / "alone", *shape)
    # One of them is idle.
    assert lines(trained(measured, tmp_path / "idle", *shape, ranks=RANKS + 1)) == lines(alone)


def run_and_die_after_an_evaluation(arguments: Sequence[str]) -> None:
    """Train, and be killed on rank 1 when the second evaluation is done and nothing of it is written yet."""
    real = vars(loop)["score"]
    done: list[Scores] = []

    def score(heldout: Heldout, **named: Any) -> Scores:
        done.append(real(heldout, **named))
        if len(done) == 2 and named["world"].rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return done[-1]

    vars(loop)["score"] = score
    run(arguments)


def test_a_kill_between_an_evaluation_and_the_next_step_neither_loses_nor_doubles_it(
    measured: Tiny, whole: Path, tmp_path: Path
) -> None:
    arguments = measured.arguments(tmp_path / "runs", *EVALUATED)
    ended = run_ranks(2, run_and_die_after_an_evaluation, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes[1] == -9 and ended.exit_codes[0] in (75, -9), ended
    ended = run_ranks(1, run, [arguments], notes=tmp_path / "notes", kill=(0, 6))
    assert ended.exit_codes == [-9], ended
    ended = run_ranks(2, run, [[*arguments, "train.placement=fsdp2"]], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    assert lines(tmp_path / "runs") == lines(whole)
    folder = finished_folder(tmp_path / "runs")
    assert events(folder, "redo.matched"), "what was written before the kill was held against what came after"
    assert [event["step"] for event in events(folder, "heldout.scored")].count(6) >= 2
    verify_files(current(tmp_path / "runs", "train"))


def test_a_replay_evaluates_too_and_a_forged_evaluation_is_named(measured: Tiny, whole: Path, tmp_path: Path) -> None:
    out, start = tmp_path / "lines.jsonl", finished_folder(whole) / "checkpoints" / "step-000004"
    options = ["--pack", pack_of(measured), "--start", start, "--until", 6, "--out", out]
    arguments = [str(measured.recipe), *map(str, options), *EVALUATED, "train.placement=fsdp2"]
    ended = run_ranks(2, replay, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    replayed = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert first_difference(lines(whole)[4:6], replayed) is None
    forged = lines(whole)[4:6]
    forged[-1]["eval"]["sources"]["beta"]["loss"] = (1.0).hex()
    found = first_difference(forged, replayed)
    assert found and (found.step, found.field, found.left) == (6, "eval.sources.beta.loss", (1.0).hex())


def test_the_journal_tells_of_every_evaluation(whole: Path) -> None:
    told = events(finished_folder(whole), "heldout.scored")
    assert [event["step"] for event in told] == STEPS
    for event, line in zip(told, (line for line in lines(whole) if "eval" in line), strict=True):
        assert event["loss"].hex() == line["eval"]["loss"]
        assert event["beta.bits_per_byte"].hex() == line["eval"]["sources"]["beta"]["bits_per_byte"]


def test_a_pack_without_held_out_tokens_and_a_damaged_one_are_refused(
    tiny: Tiny, measured: Tiny, tmp_path: Path
) -> None:
    ended = run_ranks(1, run, [tiny.arguments(tmp_path / "runs", *EVALUATED)], notes=tmp_path / "notes")
    assert ended.exit_codes == [64]
    assert "set pack.heldout_tokens and pack again" in ended.messages[0]
    for name in ("record.json", "alpha-00000.bin"):
        copy = tmp_path / name
        shutil.copytree(pack_of(measured) / "heldout", copy / "heldout")
        content = bytearray((copy / "heldout" / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / "heldout" / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            Heldout.open(copy, seq_len=32, micro_batch=2)


def test_check_and_plan_know_what_an_evaluation_needs_and_costs(measured: Tiny) -> None:
    refused = run_module("train", "check", measured.recipe, "train.eval_every_steps=3")
    assert refused.returncode == 64
    assert "train.eval_every_steps is 3, but pack.heldout_tokens is 0" in refused.stderr
    asked = (*EVALUATED, f"pack.heldout_tokens={HELDOUT_TOKENS}", "--memory-gb", "8", "--json")
    planned = json.loads(run_module("train", "plan", measured.recipe, *asked).stdout)
    # Two sources, four evaluations, a forward each.
    assert planned["flops_of_evaluations"] == planned["flops_per_token"] // 3 * 2 * HELDOUT_TOKENS * len(STEPS)


COMPILED = tuple(f"profile.{name}=true" for name in ("is_bound_to_cpu_model", "is_compiled", "is_update_fused"))


def run_in_cache(arguments: Sequence[str], *, kept: Path) -> None:
    """A run of a user with a cache folder of their own."""
    os.environ["XDG_CACHE_HOME"] = str(kept)
    run(arguments)


# Compiled code takes g++ half a minute of one core, and several times that where cores are shared.
@pytest.mark.slow
def test_compiled_runs_measure_the_same_at_any_placement_and_keep_the_code_that_measures(
    measured: Tiny, tmp_path: Path
) -> None:
    kept, short = tmp_path / "cache", ("train.steps=2", "train.warmup_steps=1", "train.save_every_steps=1")
    found, libraries = {}, []
    for name, ranks, overrides in (
        ("one", 1, ("train.eval_every_steps=1",)),
        ("two", 2, ("train.eval_every_steps=1", "train.placement=fsdp2")),
        ("without", 1, ()),
    ):
        settings = (*short, *COMPILED, "profile.compute=bf16", *overrides)
        arguments = [measured.arguments(tmp_path / name, *settings, "train.timeout_s=600")]
        verb = partial(run_in_cache, kept=kept)
        ended = run_ranks(ranks, verb, arguments, notes=tmp_path / f"{name}-notes", deadline_s=900.0)
        assert ended.exit_codes == [0] * ranks, ended.messages
        found[name] = tmp_path / name
        libraries.append({path.name for path in kept.glob("wholegrain/compiled/[!.]*/**/*.so")})
    assert lines(found["one"]) == lines(found["two"])
    assert all(line["eval"] for line in lines(found["one"]))
    bare = [{key: value for key, value in line.items() if key != "eval"} for line in lines(found["one"])]
    assert bare == lines(found["without"])
    assert result_of(found["one"]).weights == result_of(found["without"]).weights
    assert libraries[0] and libraries[0] == libraries[1]
