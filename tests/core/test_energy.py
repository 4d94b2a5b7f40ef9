"""The meter, on folders of the form that Linux gives RAPL: no machine of the tests has one to read."""

from pathlib import Path

import pytest

from core.energy import open_meter


def package(folder: Path, name: str, *, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return place / "energy_uj"


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    counters = [package(tmp_path, f"intel-rapl:{number}", energy_uj=500_000) for number in (0, 1)]
    part = package(tmp_path, "intel-rapl:0:0", energy_uj=0)
    meter = open_meter(powercap=tmp_path)
    assert meter
    assert meter.joules() == 0.0
    counters[0].write_text("700000\n")
    counters[1].write_text("600000\n")
    part.write_text("900000\n")
    assert meter.joules() == pytest.approx(0.3)


def test_a_counter_that_begins_anew_loses_nothing(tmp_path: Path) -> None:
    counter = package(tmp_path, "intel-rapl:0", energy_uj=900_000)
    meter = open_meter(powercap=tmp_path)
    assert meter
    counter.write_text("100000\n")
    assert meter.joules() == pytest.approx(0.2)
    counter.write_text("150000\n")
    assert meter.joules() == pytest.approx(0.25)


def test_where_nothing_can_be_read_there_is_no_meter(tmp_path: Path) -> None:
    assert open_meter(powercap=tmp_path) is None
    package(tmp_path, "intel-rapl:0", energy_uj=1).write_text("not a number")
    assert open_meter(powercap=tmp_path) is None
