"""The phases of the first run on a GPU: their processes, time limits and files."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.first_gpu.__main__ import STAGES
from benchmarks.first_gpu.running import Finding, Phase, install_library, run, write_as_found
from benchmarks.harness import Figure

SPEED = Figure(name="speed", unit="x", values=[2.0], at_least=1.5)


def python(program: str) -> tuple[str, str]:
    return "-c", program


def result(out: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return found


def test_all_phases_fit_into_eight_minutes_and_eight_files() -> None:
    assert sum(max(phase.seconds for phase in stage) for stage in STAGES) <= 8 * 60
    assert sum(map(len, STAGES)) <= 8


def test_a_phase_that_fails_or_does_not_end_costs_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process that a stopped phase has started ends with it."""
    child = f"[{sys.executable!r}, '-c', 'import time; time.sleep(60)']"
    endless = (
        "import subprocess, time\n"
        f"child = subprocess.Popen({child})\n"
        "print('child', child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    stages = [
        [
            Phase(name="fails", seconds=60, command=python("raise SystemExit('no such device')")),
            Phase(name="endless", seconds=1.5, command=python(endless)),
        ],
        [Phase(name="sees", seconds=60, command=python("import on_site; print(on_site.VALUE)"))],
    ]
    site = tmp_path / "site"
    site.mkdir()
    (site / "on_site.py").write_text("VALUE = 'found'")
    assert not run(stages, tmp_path, site)
    fails, endless, sees = (result(tmp_path, name) for name in ("fails", "endless", "sees"))
    assert (fails["outcome"], fails["output"]) == ("failed with exit status 1", "no such device\n")
    assert endless["outcome"] == "stopped at its limit of 1.5 s"
    assert (sees["outcome"], sees["output"]) == ("complete", "found\n")
    _ends(int(endless["output"].split()[1]))
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [
        "endless.json",
        "fails.json",
        "sees.json",
    ]
    assert "sees: complete after" in capsys.readouterr().out


def _ends(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in _status(pid):
        assert time.monotonic() < deadline, f"{pid} is alive"
        os.sched_yield()


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "\nState:\tZ"


def test_what_a_phase_has_found_is_kept_when_it_raises(tmp_path: Path) -> None:
    def findings() -> Iterator[Finding]:
        yield SPEED
        yield "so far"
        raise RuntimeError("device lost")

    with pytest.raises(RuntimeError):
        write_as_found(tmp_path, "noise", findings())
    found = result(tmp_path, "noise")
    assert [figure["name"] for figure in found["figures"]] == ["speed"]
    assert found["notes"] == ["so far"]
    assert found["versions"]["torch"]


def test_sources_that_are_not_installed_have_their_entry_points(tmp_path: Path) -> None:
    install_library(tmp_path)
    (info,) = tmp_path.iterdir()
    text = (info / "entry_points.txt").read_text()
    assert "[gradnoise.techniques]" in text
    assert "mlp = gradnoise.workloads.paper.mlp:Mlp" in text
