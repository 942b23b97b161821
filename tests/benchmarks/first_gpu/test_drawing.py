"""The tables of a run on a GPU, and what is kept of it."""

import json
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.first_gpu.drawing import draw
from benchmarks.first_gpu.running import write_as_found
from benchmarks.harness import Figure


def keep(out: Path, name: str, outcome: str, speed: float) -> None:
    figure = Figure(name="speed", unit="x", values=[speed], at_least=1.5)
    write_as_found(out, name, [figure, "no GPU"])
    file = out / f"{name}.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found | {"outcome": outcome, "seconds": 3.2, "output": "Traceback"}))


@pytest.mark.parametrize(
    ("outcome", "speed", "holds"),
    [("complete", 2.0, True), ("complete", 1.0, False), ("failed with exit status 1", 2.0, False)],
)
def test_results_are_printed_and_kept(
    outcome: str,
    speed: float,
    holds: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of a benchmark are kept under the name that the benchmark itself uses."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    keep(tmp_path, "noise", outcome, speed)
    keep(tmp_path, "parity", "complete", 2.0)
    assert draw(tmp_path, ["noise", "parity"]) is holds
    printed = capsys.readouterr().out
    assert f"noise: {outcome} after 3 s, on a CPU" in printed
    assert printed.count("MISSED") == (speed < 1.5)
    assert printed.count("no GPU") == 2
    assert printed.count("Traceback") == (outcome != "complete")
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "bench_noise_cuda.json",
        "first_gpu_parity.json",
    }


def test_a_phase_without_results_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    assert not draw(tmp_path, ["noise"])
    assert f"noise: there is no {tmp_path / 'noise.json'}" in capsys.readouterr().out
