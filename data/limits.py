"""What a run must not ask of its sources: checked when it is planned, when it is packed, and when training starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import ConfigError
from data.order import Order


def check_run(record: Mapping[str, Any], order: Order, *, samples: int) -> None:
    """Hold a run of `samples` samples against a data order and its record in order.json.

    Raises ConfigError if the run ends before a phase begins, or goes through a source oftener than `max_epochs` says;
    what a parent's run drew counts.
    """
    check_end(record["phases"], samples=samples)
    limits = record.get("max_epochs", {})
    drawn = order.drawn(samples)
    for source in record["sources"]:
        if source["name"] in limits:
            name = source["name"]
            check_epochs(name, drawn=drawn[name], windows=source["windows"], allowed=limits[name])


def check_end(phases: Sequence[Mapping[str, Any]], *, samples: int) -> None:
    """Raise ConfigError if a run of `samples` samples ends before one of the phases of order.json begins."""
    for phase in phases:
        if phase["start"] >= samples:
            raise ConfigError(
                f"phase {phase['name']} of pack.phases starts at sample {phase['start']}, but the run ends after "
                f"{samples}; start it sooner or train longer"
            )


def check_epochs(source: str, *, drawn: int, windows: int, allowed: int, basis: str = "", margin: int = 1) -> None:
    """Raise ConfigError if `drawn` windows go oftener than `allowed` times through a source of `windows` windows.

    `basis` says what `windows` rests on, where it is not exact; the limit may then be exceeded `margin` times.
    """
    if drawn > allowed * windows * margin:
        raise ConfigError(
            f"source {source} would be gone through {drawn / windows:.2f} times ({drawn} windows of {windows}"
            f"{f', {basis}' if basis else ''}), pack.max_epochs allows {allowed}; lower its weight, train shorter or "
            "allow more"
        )
