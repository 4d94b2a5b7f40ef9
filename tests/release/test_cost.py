"""What a run cost: what is computed, what is told, and that each value says which."""

import json
from typing import Any

import pytest

from core.errors import DataError
from model.config import ModelConfig
from release.contents import Bundle
from release.cost import COST, check_plausible, first_number, flops_per_token, measured_joules, stated, told, value
from release.openness.words import parse_words

PROFILE = {"device": "cpu", "threads": 2}
STARTED = {"event": "run.started", "rank": 0, "generation": 1, "host": "host 0", "world_size": 4}
ACCOUNT = {"seconds": {"step": 3600.0, "redo": 900.0}}
WORDS = """---
device_watts: 7.5 W a core, data sheet
peak_flops: 1e11 a core
price_per_device_hour: 0.04 EUR
---
"""


def rows(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in record["values"]}


def test_tokens_and_operations_are_those_of_the_model_and_the_ledger(bundle: Bundle) -> None:
    said = json.loads((bundle.folder / COST).read_bytes())
    model = ModelConfig(**bundle.trained["model"])
    assert flops_per_token(bundle.trained["model"], seq_len=32) == model.flops_per_token(32)
    assert rows(said)["tokens"]["value"] == bundle.ledger[-1]["tokens"] == 6144
    assert rows(said)["flops"]["value"] == 6144 * model.flops_per_token(32)
    assert {row["how"] for row in said["values"]} == {"computed"}


def test_the_authors_words_are_declared_and_change_no_other_value(bundle: Bundle) -> None:
    said, plain = stated(bundle, parse_words(WORDS)), json.loads((bundle.folder / COST).read_bytes())
    assert {name for name, row in rows(said).items() if row["how"] == "declared"} == {
        "device_watts",
        "peak_flops",
        "price_per_device_hour",
    }
    assert [row for row in said["values"] if row["how"] == "computed"] == plain["values"]


def test_hours_that_were_lost_are_told_apart_and_the_clock_stays_outside_the_root(bundle: Bundle) -> None:
    outside = json.loads((bundle.witness / COST).read_bytes())
    found = rows(outside)
    assert found["device_hours.redo"]["value"] > 0
    kinds = [row["value"] for name, row in found.items() if name.startswith("device_hours.")]
    assert found["device_hours"]["value"] == pytest.approx(sum(kinds))
    assert found["peak_memory"]["value"] > found["peak_memory_of_a_rank"]["value"] > 100
    assert found["energy_kwh"]["how"] in ("measured", "estimated")
    assert "device_hours" not in (bundle.folder / COST).read_text()


def test_a_declared_power_peak_and_price_give_energy_share_and_money(bundle: Bundle) -> None:
    inside = stated(bundle, parse_words(WORDS))
    found = rows(told(inside, account=ACCOUNT, journals=[STARTED], hardware={}, profile=PROFILE))
    assert found["device_hours.step"]["value"] == 8.0
    assert found["device_hours"]["value"] == 10.0
    assert (found["energy_kwh"]["value"], found["energy_kwh"]["how"]) == (pytest.approx(0.075), "estimated")
    assert "7.5 W as declared" in found["energy_kwh"]["from"]
    assert found["share_of_peak"]["value"] == pytest.approx(value(inside, "flops") / (36_000 * 1e11))
    assert (found["price"]["value"], found["price"]["how"]) == (pytest.approx(0.4), "declared")


def test_counters_give_measured_energy_of_every_start_and_host_once(bundle: Bundle) -> None:
    other = {**STARTED, "rank": 1, "host": "host 1"}
    again = {**STARTED, "generation": 2}
    steps = [
        {"event": "step.finished", "rank": rank, "generation": generation, "energy_j": joules}
        for rank, generation, joules in ((0, 1, 10.0), (0, 1, 30.0), (1, 1, 20.0), (0, 2, 5.0))
    ]
    assert measured_joules([STARTED, other, again, *steps]) == 55.0
    inside = stated(bundle, parse_words(""))
    found = rows(told(inside, account=ACCOUNT, journals=[STARTED, steps[1]], hardware={}, profile=PROFILE))
    assert (found["energy_kwh"]["value"], found["energy_kwh"]["how"]) == (pytest.approx(30 / 3.6e6), "measured")


def test_a_gpus_energy_is_not_guessed(bundle: Bundle) -> None:
    profile = {"device": "cuda", "threads": 1}
    inside = stated(bundle, parse_words(""))
    found = rows(told(inside, account=ACCOUNT, journals=[STARTED], hardware={}, profile=profile))
    assert found["device_hours"]["unit"] == "gpu hours"
    assert "energy_kwh" not in found


def test_more_than_the_declared_peak_is_refused(bundle: Bundle) -> None:
    inside = stated(bundle, parse_words("---\npeak_flops: 10\n---\n"))
    outside = told(inside, account=ACCOUNT, journals=[STARTED], hardware={}, profile=PROFILE)
    with pytest.raises(DataError, match="of the declared peak"):
        check_plausible(inside, outside)


def test_without_an_account_no_hours_are_made_up(bundle: Bundle) -> None:
    inside = stated(bundle, parse_words(""))
    outside = told(inside, account={"why": "no journal"}, journals=[], hardware={}, profile=PROFILE)
    assert outside["values"] == []
    assert outside["why_no_hours"] == "no journal"
    assert check_plausible(inside, outside) == "no device hours are told"


@pytest.mark.parametrize(("text", "number"), [("7.5 W", 7.5), ("1e11 a core", 1e11), ("about 5", 0.0), ("", 0.0)])
def test_a_declared_value_is_the_number_that_it_begins_with(text: str, number: float) -> None:
    assert first_number(text) == number
