"""A state that goes out and comes in again is the same state; others read it, and what does not fit is one line."""

import json
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from core.errors import ProjectError
from core.ledger import read_lines
from inference.huggingface import model_config
from model.names import hugging_face_name
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder
from train.exchange import export_main, import_main
from train.recipe import read_recipe
from train.run import main
from train.store import open_checkpoint

STEPS = ("train.steps=6", "train.warmup_steps=1", "train.save_every_steps=2")
VARIANTS = {"adamw": (), "rich": ("train.optimizer=muon", "train.spikes.is_on=true", "train.spikes.window=3")}
Files = Mapping[str, Tensor]


def _import(tiny: Tiny, folder: Path, to: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> list[str]:
    """Import in this process; returns the overrides of a run that starts from it."""
    capsys.readouterr()
    import_main([str(folder), "--to", str(to), *tiny.arguments(to, *STEPS, *overrides)])
    return capsys.readouterr().out.split()


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run by variant, and what was exported of its middle."""
    root = tmp_path_factory.mktemp("exchange")
    runs = [tiny.arguments(root / name, *STEPS, *variant) for name, variant in VARIANTS.items()]
    ended = run_ranks(1, main, runs, notes=root / "notes")
    assert ended.exit_codes == [0], ended.messages
    for name in VARIANTS:
        checkpoint = finished_folder(root / name) / "checkpoints" / "step-000004"
        for form in ("safetensors", "dcp"):
            export_main([str(checkpoint), "--to", str(root / f"{name}-{form}"), "--format", form])
    return root


@pytest.mark.parametrize(("variant", "ranks"), [("adamw", 1), ("rich", 2)])
def test_out_and_in_again_and_on_is_the_run_that_never_stopped(
    folder: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str, ranks: int
) -> None:
    start = _import(tiny, folder / f"{variant}-safetensors", tmp_path / "in", capsys, *VARIANTS[variant])
    arguments = tiny.arguments(tmp_path / "on", *STEPS, *VARIANTS[variant], *start)
    ended = run_ranks(ranks, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0] * ranks, ended.messages
    whole, on = (finished_folder(place) for place in (folder / variant, tmp_path / "on"))
    lines = [
        [{key: value for key, value in line.items() if key != "prev"} for line in read_lines(one / "ledger.jsonl")]
        for one in (whole, on)
    ]
    assert lines[1][1:] == lines[0][5:]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (on / "checkpoints/step-000006" / name).read_bytes() == (
            whole / "checkpoints/step-000006" / name
        ).read_bytes()


def test_the_ledger_names_what_was_imported_and_where_it_stood(
    folder: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = _import(tiny, folder / "adamw-safetensors", tmp_path / "in", capsys)
    assert _import(tiny, folder / "adamw-safetensors", tmp_path / "in", capsys) == start
    ended = run_ranks(1, main, [tiny.arguments(tmp_path / "on", *STEPS, *start)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    parent = read_lines(finished_folder(tmp_path / "on") / "ledger.jsonl")[0]["parent"]
    origin = open_checkpoint(finished_folder(folder / "adamw") / "checkpoints" / "step-000004").position
    assert (parent["step"], parent["ledger_head"], parent["state_root"]) == (4, origin.ledger_head, origin.state_root)
    assert parent["imported"]["kind"] == "export" and len(parent["imported"]["files"]["state.json"]) == 64


def test_state_json_tells_where_the_export_stands(folder: Path) -> None:
    state = json.loads((folder / "adamw-safetensors" / "state.json").read_bytes())
    assert (state["step"], state["tokens"], state["data_step"]) == (4, 4 * 8 * 2 * 32, 4)
    assert state["configuration"]["model"]["dim"] == 32
    assert {entry["path"] for entry in state["files"]} == {"model.safetensors", "optimizer.safetensors"}


def test_a_recipe_stands_for_the_end_of_its_run(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    recipe, *overrides = tiny.arguments(folder / "adamw", *STEPS)
    export_main([recipe, *overrides, "--to", str(tmp_path / "last")])
    last = finished_folder(folder / "adamw") / "checkpoints" / "step-000006" / "model.safetensors"
    assert (tmp_path / "last" / "model.safetensors").read_bytes() == last.read_bytes()


class Stranger(nn.Module):
    """A module of plain torch with parameters of given names."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            *path, leaf = name.split(".")
            inner: nn.Module = self
            for part in path:
                if part not in dict(inner.named_children()):
                    inner.add_module(part, nn.Module())
                inner = inner.get_submodule(part)
            inner.register_parameter(leaf, nn.Parameter(torch.zeros(*shape)))


def _load_in_shards(arguments: Sequence[str]) -> None:
    """A plain torch program on a rank: load an export in DCP into shards, and hold it against safetensors."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    exported, whole = (Path(argument) for argument in arguments)
    weights, moments = (load_file(whole / f"{name}.safetensors") for name in ("model", "optimizer"))
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))

    def empty(tensor: Tensor) -> DTensor:
        return distribute_tensor(torch.full_like(tensor, 7.0), mesh, [Shard(0)])

    state: dict[str, Any] = {
        "model": {name: empty(tensor) for name, tensor in weights.items()},
        "optimizer": {
            "state": {
                name: {moment: empty(moments[f"{moment}.{name}"]) for moment in ("exp_avg", "exp_avg_sq")}
                | {"step": torch.zeros(())}
                for name in weights
            }
        },
    }
    dcp.load(state, checkpoint_id=exported)  # type: ignore[attr-defined]
    for name, tensor in weights.items():
        assert torch.equal(state["model"][name].full_tensor(), tensor)
        own = state["optimizer"]["state"][name]
        assert float(own["step"]) == 4.0
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(own[moment].full_tensor(), moments[f"{moment}.{name}"])
    dist.destroy_process_group()


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_plain_torch_program_loads_the_dcp_export_at_another_world_size(
    folder: Path, tmp_path: Path, ranks: int
) -> None:
    arguments = [str(folder / "adamw-dcp"), str(folder / "adamw-safetensors")]
    ended = run_ranks(ranks, _load_in_shards, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0] * ranks, (tmp_path / "notes" / "rank0.log").read_text()


def test_the_dcp_export_becomes_a_file_of_torch_save_that_torchs_own_adamw_goes_on_from(
    folder: Path, tmp_path: Path
) -> None:
    dcp_to_torch_save(folder / "adamw-dcp", tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    weights = load_file(folder / "adamw-safetensors" / "model.safetensors")
    assert state["model"].keys() == weights.keys()
    module = Stranger({name: tensor.shape for name, tensor in weights.items()})
    module.load_state_dict(state["model"])
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    own = [state["optimizer"]["state"][name] for name, _ in module.named_parameters()]
    optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(enumerate(own))})
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(float(optimizer.state[parameter]["step"]) == 5.0 for parameter in module.parameters())


def _hugging_face(folder: Path, to: Path, tiny: Tiny, dtype: torch.dtype) -> Files:
    """The tiny run's weights as a folder of Hugging Face, in two files; returns them as they are in it."""
    to.mkdir()
    weights = load_file(folder / "adamw-safetensors" / "model.safetensors")
    theirs = {hugging_face_name(name): tensor.to(dtype) for name, tensor in weights.items()}
    halves = [dict(list(theirs.items())[part::2]) for part in (0, 1)]
    names = [f"model-0000{part + 1}-of-00002.safetensors" for part in (0, 1)]
    for name, half in zip(names, halves, strict=True):
        save_file(half, to / name)
    table = {tensor: name for name, half in zip(names, halves, strict=True) for tensor in half}
    (to / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    config = model_config(read_recipe(str(tiny.recipe), ()).model, bos_id=1, eos_id=2)
    (to / "config.json").write_text(json.dumps(config))
    return {name: weights[name].to(dtype).float() for name in weights}


def test_a_run_starts_from_a_llama_of_hugging_face_at_step_0(
    folder: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = _hugging_face(folder, tmp_path / "llama", tiny, torch.bfloat16)
    start = _import(tiny, tmp_path / "llama", tmp_path / "in", capsys)
    made = load_file(tmp_path / "in" / "step-000000" / "model.safetensors")
    assert made.keys() == weights.keys() and all(torch.equal(made[name], weights[name]) for name in weights)
    moments = load_file(tmp_path / "in" / "step-000000" / "optimizer.safetensors")
    assert len(moments) == 2 * len(weights) and not any(bool(tensor.any()) for tensor in moments.values())
    runs = [tiny.arguments(tmp_path / how, f"train.placement={how}", *STEPS, *start) for how in ("zero1", "fsdp2")]
    ended = run_ranks(2, main, runs, notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    ledgers = [(finished_folder(tmp_path / how) / "ledger.jsonl").read_bytes() for how in ("zero1", "fsdp2")]
    assert ledgers[0] == ledgers[1]
    first, line, *_ = read_lines(finished_folder(tmp_path / "zero1") / "ledger.jsonl")
    assert first["parent"]["imported"]["kind"] == "hugging face" and len(first["parent"]["imported"]["files"]) == 2
    begun = read_lines(finished_folder(folder / "adamw") / "ledger.jsonl")[1]
    assert line["step"] == 1 and float.fromhex(line["loss"]) < float.fromhex(begun["loss"])


def _tensors(change: Callable[[dict[str, Tensor]], None]) -> Callable[[Path], None]:
    """Change the weights of a folder without state.json."""

    def spoil(folder: Path) -> None:
        for name in ("state.json", "optimizer.safetensors"):
            (folder / name).unlink()
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return spoil


def _less(tensors: dict[str, Tensor]) -> None:
    del tensors["norm.weight"]


def _nan(tensors: dict[str, Tensor]) -> None:
    tensors["norm.weight"][3] = float("nan")


def _pickled(folder: Path) -> None:
    (folder / "state.json").unlink()
    (folder / "optimizer.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(pickle.dumps({"norm.weight": 1}))


def _only_pickle(folder: Path) -> None:
    _pickled(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut_off(folder: Path) -> None:
    (folder / "state.json").unlink()
    (folder / "optimizer.safetensors").unlink()
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


def _flipped(folder: Path) -> None:
    content = bytearray((folder / "optimizer.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "optimizer.safetensors").write_bytes(content)


def _edited(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_bytes())
    state["origin"]["state_root"] = "0" * 64
    (folder / "state.json").write_text(json.dumps(state))


def _stepless(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_bytes())
    state["step"] = -4
    (folder / "state.json").write_text(json.dumps(state))


BAD: dict[str, tuple[Callable[[Path], None], tuple[str, ...], int, str]] = {
    "missing": (_tensors(_less), (), 66, "lacks tensor norm.weight (1 in all)"),
    "extra": (_tensors(lambda own: own.update(bias=torch.ones(2))), (), 66, "has tensor bias, which the recipe has"),
    "shape": (_tensors(lambda own: own.update({"norm.weight": torch.ones(33)})), (), 66, "has shape [33], the recipe"),
    "dtype": (
        _tensors(lambda own: own.update({"norm.weight": own["norm.weight"].double()})),
        (),
        66,
        "norm.weight of {folder} is float64; only float32 is taken",
    ),
    "nan": (_tensors(_nan), (), 66, "tensor norm.weight of {folder} holds a value that is not finite"),
    "pickle": (_pickled, (), 66, "model.safetensors is a pickle, which is never opened"),
    "only pickle": (_only_pickle, (), 66, "holds only pytorch_model.bin, a pickle, which is never opened"),
    "cut off": (_cut_off, (), 66, "model.safetensors is cut off or damaged"),
    "flipped": (_flipped, (), 66, "optimizer.safetensors is not what state.json says"),
    "edited": (_edited, (), 66, "one of them was edited"),
    "step": (_stepless, (), 66, "state.json cannot be read (ValueError: -4 is no count)"),
    "optimizer": (lambda folder: None, VARIANTS["rich"], 66, "lacks tensor momentum.blocks.0"),
    "no state": (lambda folder: (folder / "state.json").unlink(), (), 66, "but no state.json that says of which step"),
    "nothing": (shutil.rmtree, (), 64, "is no folder"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_a_start_is_one_clear_line(
    folder: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    spoil, overrides, code, told = BAD[what]
    own = tmp_path / "state"
    shutil.copytree(folder / "adamw-safetensors", own)
    spoil(own)
    with pytest.raises(ProjectError) as caught:
        _import(tiny, own, tmp_path / "in", capsys, *overrides)
    assert caught.value.exit_code == code
    assert told.format(folder=own) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.glob("in/*"))


def test_the_dcp_export_is_not_read_since_its_table_is_a_pickle(
    folder: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ProjectError, match="holds dcp, whose table is a pickle"):
        _import(tiny, folder / "adamw-dcp", tmp_path / "in", capsys)


def test_a_llama_with_other_heads_or_rotation_is_refused(
    folder: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _hugging_face(folder, tmp_path / "llama", tiny, torch.float32)
    config = json.loads((tmp_path / "llama" / "config.json").read_bytes())
    for change, told in (
        ({"num_attention_heads": 2}, "num_attention_heads 2, the recipe's model 4"),
        ({"rope_theta": 5e5}, "rope_theta 500000.0, the recipe's model 10000.0"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_type 'llama3', the recipe's model 'default'"),
        ({"model_type": "mistral"}, "model_type 'mistral', the recipe's model 'llama'"),
    ):
        (tmp_path / "llama" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ProjectError, match=told):
            _import(tiny, tmp_path / "llama", tmp_path / "in", capsys)


def test_an_import_into_a_run_and_an_export_over_something_are_refused(
    folder: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = finished_folder(folder / "adamw") / "checkpoints"
    with pytest.raises(ProjectError, match="belongs to a run, which alone writes there"):
        _import(tiny, folder / "adamw-safetensors", checkpoints, capsys)
    with pytest.raises(ProjectError, match="is there already"):
        export_main([str(checkpoints / "step-000004"), "--to", str(tmp_path)])
