"""The whole run where torch sees no GPU, and its results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.first_gpu import drawing
from benchmarks.first_gpu.__main__ import STAGES

ROOT = Path(__file__).resolve().parents[3]
HIDDEN = (
    "fastapi",
    "gradnoise_service",
    "gradnoise_workers",
    "httpx2",
    "lightning",
    "matplotlib",
    "numba",
    "optuna",
    "pooch",
    "pydantic",
    "pytest",
    "ray",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "transformers",
    "triton",
)


@pytest.mark.slow
def test_without_a_gpu_it_runs_to_its_end_with_torch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each phase says so, and trains on the CPU where it can."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({HIDDEN!r}))"
    )
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_gpu", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    names = [phase.name for stage in STAGES for phase in stage]
    found = {name: json.loads((out / f"{name}.json").read_text()) for name in names}
    outcomes = {name: (each["outcome"], each["output"]) for name, each in found.items()}
    assert run.returncode == 0, (run.stdout, run.stderr, outcomes)
    assert len(list(out.iterdir())) == len(names)
    for each in found.values():
        assert any(note.startswith("no GPU") for note in each["notes"])
    assert {name for name, each in found.items() if each["figures"]} == {
        "parity",
        "drills",
        "epoch",
        "calibration",
    }
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    assert drawing.draw(out, names)
