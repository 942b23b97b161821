"""`gradnoise doctor` on a machine with GPUs: what torch makes of them, and of the noise kernel."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gradnoise_service.local import gpus
from gradnoise_service.local.gpus import examine_gpus


def test_without_a_device_file_torch_is_not_loaded(tmp_path: Path) -> None:
    (found,) = examine_gpus(tmp_path)
    assert (found.state, found.detail) == ("ok", "none: trials train on CPU cores")


@pytest.mark.slow
def test_gpus_that_torch_cannot_use_are_a_warning(tmp_path: Path) -> None:
    """Device files of two GPUs, and this environment's torch without CUDA or without a driver."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    for number in range(2):
        (tmp_path / f"nvidia{number}").touch()
    (tmp_path / "nvidiactl").touch()
    (found,) = examine_gpus(tmp_path)
    assert found.state == "warn"
    assert found.detail.startswith(f"2 in this machine, but torch {torch.__version__}")
    assert found.hint


GPU = {
    "fault": "",
    "name": "H200",
    "uuid": "GPU-1",
    "free_bytes": 139_000_000_000,
    "total_bytes": 141_000_000_000,
    "kernel_fault": "",
}


def test_each_gpu_has_a_line_and_another_if_its_noise_is_drawn_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = [GPU, GPU | {"kernel_fault": "RuntimeError: Failed to find C compiler."}]

    def run(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(stdout=json.dumps(report))

    monkeypatch.setattr(gpus.subprocess, "run", run)
    (tmp_path / "nvidia0").touch()
    findings = list(examine_gpus(tmp_path))
    assert [(finding.state, finding.detail) for finding in findings] == [
        ("ok", "0: H200, 139.0 of 141.0 GB free, GPU-1"),
        ("ok", "1: H200, 139.0 of 141.0 GB free, GPU-1"),
        ("warn", "1: noise is drawn on the CPU: RuntimeError: Failed to find C compiler."),
    ]
    assert "gcc" in findings[-1].hint
