"""A GPU's words in the kernel's log: which are read, and which of them set a node aside under keepers."""

from pathlib import Path

from launch.sensors import Sensors, readings
from tests.launch.keeper_runs import kept_run
from tests.train.runs import Tiny

BUS = "[ 12.5] NVRM: Xid (PCI:0000:3b:00): 79, pid=7, name=python, GPU has fallen off the bus.\n"
PROGRAM = "[ 12.6] NVRM: Xid (PCI:0000:3b:00): 13, Graphics Exception\n"


def test_the_drivers_words_are_told_from_the_kernels_others() -> None:
    found = readings(f"usb 1-1: new device\n{BUS}{PROGRAM}")
    assert [(one.code, one.gpu, one.fatal) for one in found] == [
        (79, "PCI:0000:3b:00", "the GPU has fallen off the bus"),
        (13, "PCI:0000:3b:00", ""),
    ]


def test_only_whole_new_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "kernel.log"
    path.write_text(BUS)
    sensors = Sensors(path)
    assert sensors.read() == []
    with path.open("a") as stream:
        stream.write(PROGRAM[:20])
        stream.flush()
        assert sensors.read() == []
        stream.write(PROGRAM[20:])
    assert [one.code for one in sensors.read()] == [13]
    assert sensors.read() == [] and Sensors(None).read() == []


def test_a_broken_gpu_puts_its_node_into_quarantine_and_a_programs_error_does_not(tiny: Tiny, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    log = f"launch.sensor_log='{logs}/{{node}}.log'"
    with kept_run(tiny, tmp_path / "run", log, held_at=2) as run:
        with run.held():
            # Any two of the three nodes may have come first.
            broken, sound = run.events("generation.began")[0]["seated"]
            (logs / f"{sound}.log").write_text(PROGRAM)
            run.wait(lambda: run.events("sensor.told"), "the program's error is told")
            assert not run.events("failed")
            (logs / f"{broken}.log").write_text(BUS)
            run.wait(lambda: run.events("failed"), "the node is set aside")
        assert run.finish() == 0, run.stderr
    (aside,) = run.events("quarantined")
    assert aside["node"] == broken and "XID 79" in aside["reason"]
    assert [one["kind"] for one in run.events("failed")] == ["BROKEN"]
    assert set(run.events("generation.began")[-1]["seated"]) == {"n0", "n1", "n2"} - {broken}
    (evidence,) = run.folder.glob("evidence/*/failure.json")
    assert "fallen off the bus" in evidence.read_text()
