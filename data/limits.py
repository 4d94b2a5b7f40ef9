"""What a run must not ask of its sources: checked when it is planned, when it is packed, and when training starts."""

from collections.abc import Mapping
from typing import Any

from core.errors import ConfigError
from data.order import order_of


def check_run(record: Mapping[str, Any], *, samples: int, basis: str = "") -> None:
    """Hold a run of `samples` samples against a data order as order.json states it.

    Raises ConfigError if the run ends before a phase begins, or goes through a source oftener than `max_epochs` says;
    what a parent's run drew counts. `basis` says what the sizes of the sources rest on, where they are not exact.
    """
    for phase in record["phases"]:
        if phase["start"] >= samples:
            raise ConfigError(
                f"phase {phase.get('name', 0)} of pack.phases starts at sample {phase['start']}, but the run ends "
                f"after {samples}; start it sooner or train longer"
            )
    limits = record.get("max_epochs")
    drawn = order_of(record).drawn(samples) if limits else {}
    for source in record["sources"]:
        name, windows = source["name"], source["windows"]
        allowed = limits.get(name) if limits else None
        if allowed and drawn[name] > allowed * windows:
            raise ConfigError(
                f"source {name} would be gone through {drawn[name] / windows:.2f} times ({drawn[name]} windows of "
                f"{windows}{basis}), pack.max_epochs allows {allowed}; lower its weight, train shorter or allow more"
            )
