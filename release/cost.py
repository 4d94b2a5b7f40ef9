"""What a run cost: tokens and operations, which are computed, and hours, memory, energy and money, which are told.

`cost.json`, under the root, holds what follows from configuration and ledger, and what the author declares.
`witness/cost.json` holds what the clock and the machine decided. Every value says how it is known: `computed`,
`measured`, `estimated` (with the formula) or `declared` (the author's words). Hours that were lost and done again are
told apart from those of steps that stay, by the account of `python -m launch goodput`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import DataError
from release.contents import Bundle
from release.openness.words import Words
from release.weights import count_parameters

FORMAT = "wholegrain-cost-1"
COST = "cost.json"
COMPUTED, MEASURED, ESTIMATED, DECLARED = "computed", "measured", "estimated", "declared"
FORMULA = "6 for each weight that is multiplied, and 12 layers x width x window for attention, for each token"
# For an estimate where no counter can be read and the author declares none: server CPUs draw 5 to 15 W a core.
CORE_WATTS = 10.0
# More operations a second than any device does today: a core (AMX in bf16 is some 2e12), a GPU (some 5e15).
MOST_FLOPS = {"core": 1e13, "gpu": 5e16}
HOUR_S, KWH_J = 3600.0, 3.6e6

Record = dict[str, Any]
Event = Mapping[str, Any]


def stated(bundle: Bundle, words: Words) -> Record:
    """cost.json: what follows from the rest of the bundle, and what the author declares."""
    model = bundle.trained["model"]
    seq_len = int(bundle.recipe["pack"]["seq_len"])
    tokens = len(bundle.steps) * bundle.tokens_per_step
    per_token = flops_per_token(model, seq_len=seq_len)
    rows = [
        _row("tokens", tokens, "tokens", COMPUTED, "steps x micro_batches x micro_batch x window"),
        _row("flops_per_token", per_token, "FLOP", COMPUTED, FORMULA),
        _row(
            "flops", per_token * tokens, "FLOP", COMPUTED, "flops_per_token x tokens; evaluations and redone steps not"
        ),
        *(
            _row(name, words.declared[name], "", DECLARED, "the author's words")
            for name in ("hardware", "energy_kwh", "cost", "device_watts", "peak_flops", "price_per_device_hour")
            if name in words.declared
        ),
    ]
    return {"format": FORMAT, "parameters": parameters(bundle), "values": rows}


def parameters(bundle: Bundle) -> int:
    """Elements of all published tensors; of a thin bundle without them, what cost.json says."""
    name = "weights/final/model.safetensors"
    if name in bundle.absent:
        return int(bundle.read_json(COST)["parameters"])
    return count_parameters([bundle.folder / name])


def flops_per_token(model: Mapping[str, Any], *, seq_len: int) -> int:
    """Operations of forward and backward for one token (Chowdhery et al. 2022, arXiv:2204.02311, appendix B)."""
    dim, layers = int(model["dim"]), int(model["n_layers"])
    kv_dim = dim // int(model["n_heads"]) * int(model["n_kv_heads"])
    matrices = layers * (2 * dim * dim + 2 * dim * kv_dim + 3 * dim * int(model["ffn_dim"]))
    return 6 * (matrices + int(model["vocab_size"]) * dim) + 12 * layers * dim * seq_len


def told(
    inside: Record, *, account: Mapping[str, Any], journals: Sequence[Event], hardware: Event, profile: Event
) -> Record:
    """witness/cost.json: what `launch goodput` counts, what the ranks measured, and what follows from both."""
    started = [event for event in journals if event["event"] == "run.started"]
    ranks = max((event["world_size"] for event in started), default=0)
    is_gpu = profile.get("device", "cpu") == "cuda"
    device = "gpu" if is_gpu else "core"
    devices = ranks if is_gpu else ranks * int(profile["threads"])
    rows = [
        _row(f"device_hours.{kind}", devices * seconds / HOUR_S, f"{device} hours", MEASURED, "clock of the first rank")
        for kind, seconds in account.get("seconds", {}).items()
    ]
    hours = sum(row["value"] for row in rows)
    rows += [_row("device_hours", hours, f"{device} hours", MEASURED, "all of the above")] if rows else []
    rows += _memory(journals) + _energy(journals, inside, hours=hours, device=device)
    rows += _shares(inside, hours=hours)
    return {
        "format": FORMAT,
        "device": device,
        "devices": devices,
        "model": str(hardware.get("cpu", "")),
        "values": rows,
        "why_no_hours": str(account.get("why", "")),
    }


def check_plausible(inside: Record, outside: Record) -> str:
    """What hours and operations say together, in one phrase. Raises DataError if no device can have done it."""
    flops, hours = value(inside, "flops"), value(outside, "device_hours")
    if not hours:
        return "no device hours are told"
    rate, most = flops / (hours * HOUR_S), MOST_FLOPS[outside["device"]]
    share = value(outside, "share_of_peak")
    if not 0 < rate <= most or share > 1:
        raise DataError(
            f"{flops:.3g} FLOP in {hours:.3g} device hours are {rate:.3g} a second and device, {share:.3g} of the "
            f"declared peak; no {outside['device']} does more than {most:.0e}"
        )
    return f"{rate:.3g} FLOP a second and {outside['device']}, which is possible"


def value(record: Record, name: str) -> float:
    """A value by its name; 0 if it is not there."""
    return next((float(row["value"]) for row in record["values"] if row["name"] == name), 0.0)


def first_number(text: str) -> float:
    """The number that a declared value begins with, such as 65 of `65 W, data sheet`; 0 if there is none."""
    found = re.match(r"\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)", text)
    return float(found[1]) if found else 0.0


def _memory(journals: Sequence[Event]) -> list[Record]:
    peaks: dict[int, float] = {}
    for event in journals:
        if "memory_mb" in event:
            peaks[event["rank"]] = max(peaks.get(event["rank"], 0.0), event["memory_mb"])
    if not peaks:
        return []
    return [
        _row("peak_memory_of_a_rank", max(peaks.values()), "MiB", MEASURED, "resident set of the process"),
        _row("peak_memory", sum(peaks.values()), "MiB", MEASURED, "of all ranks together"),
    ]


def _energy(journals: Sequence[Event], inside: Record, *, hours: float, device: str) -> list[Record]:
    """Energy by the counters of every host, else by the hours."""
    used = measured_joules(journals)
    if used:
        said = (
            "RAPL and NVML counters of all hosts between first and last step; whole packages, whatever else ran there"
        )
        return [_row("energy_kwh", used / KWH_J, "kWh", MEASURED, said)]
    watts = _declared(inside, "device_watts")
    if not hours or not (watts or device == "core"):
        return []
    said = f"{watts:g} W as declared" if watts else f"{CORE_WATTS:g} W a core, a round number for servers"
    formula = f"device_hours x {said}; no memory, no cooling, no network"
    return [_row("energy_kwh", hours * (watts or CORE_WATTS) / 1000, "kWh", ESTIMATED, formula)]


def measured_joules(journals: Sequence[Event]) -> float:
    """What the counters told: of each start on each host the last reading, by whichever rank read it last."""
    hosts = {
        (event["rank"], event["generation"]): event.get("host") for event in journals if event["event"] == "run.started"
    }
    used: dict[tuple[Any, int], float] = {}
    for event in journals:
        if "energy_j" in event:
            start = (hosts.get((event["rank"], event["generation"])), event["generation"])
            used[start] = max(used.get(start, 0.0), event["energy_j"])
    return sum(used.values())


def _shares(inside: Record, *, hours: float) -> list[Record]:
    peak, price = _declared(inside, "peak_flops"), _declared(inside, "price_per_device_hour")
    rows = []
    if hours and peak:
        share = value(inside, "flops") / (hours * HOUR_S * peak)
        rows.append(_row("share_of_peak", share, "", ESTIMATED, "flops / (device_hours x the declared peak_flops)"))
    if hours and price:
        rows.append(_row("price", hours * price, "", DECLARED, "device_hours x the declared price_per_device_hour"))
    return rows


def _declared(inside: Record, name: str) -> float:
    return next((first_number(str(row["value"])) for row in inside["values"] if row["name"] == name), 0.0)


def _row(name: str, said: Any, unit: str, how: str, source: str) -> Record:
    return {"name": name, "value": said, "unit": unit, "how": how, "from": source}
