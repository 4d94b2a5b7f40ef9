"""Faults as they are written."""

import pytest

from core.errors import ConfigError
from core.faults import Fault, read_fault


def test_a_fault_is_read() -> None:
    assert read_fault("crash@rank=1,step=6,generation=2") == Fault(kind="crash", rank=1, step=6, generation=2)
    assert read_fault("flip@node=n0,share=0.25") == Fault(kind="flip", node="n0", share=0.25)
    assert read_fault("sleep@rank=0,seconds=0.5") == Fault(kind="sleep", rank=0, seconds=0.5)


def test_a_fault_strikes_where_and_when_it_says() -> None:
    here = {"rank": 1, "node": "n0", "step": 6, "generation": 2, "phase": "compute"}
    assert read_fault("crash@rank=1,step=6,generation=2").strikes(**here)  # type: ignore[arg-type]
    assert read_fault("crash@node=n0").strikes(**here)  # type: ignore[arg-type]
    for other in ("rank=0", "rank=1,step=5", "rank=1,generation=1", "node=n1", "rank=1,phase=update"):
        assert not read_fault(f"crash@{other}").strikes(**here)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "crash", "explode@rank=1", "crash@step=3", "crash@rank=x", "crash@rank=1,hour=3"])
def test_what_is_no_fault_is_told_so(text: str) -> None:
    with pytest.raises(ConfigError, match="fault"):
        read_fault(text)
