"""What torch says of GPUs, here by stand-ins for its answers."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gradnoise._kernels import backends
from gradnoise.training import gpus
from gradnoise.training.gpus import Gpu


def test_a_gpu_that_is_full_is_reported_without_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every call that opens it raises; another process may leave it memory later."""

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")

    properties = SimpleNamespace(name="H200", uuid="0-1", total_memory=141)
    for name, stands_in in {
        "device_count": lambda: 1,
        "get_device_properties": lambda device: properties,
        "mem_get_info": full,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stands_in)
    monkeypatch.setattr(torch, "arange", full)
    monkeypatch.setattr(gpus, "cuda_fault", lambda: "")
    monkeypatch.setattr(backends, "launch_fault", full)
    expected = Gpu(name="H200", uuid="GPU-0-1", free_bytes=0, total_bytes=141)
    assert gpus.first_gpu() == expected
    (reported,) = gpus._report()
    assert (reported["fault"], reported["free_bytes"], reported["kernel_fault"]) == ("", 0, "")


def test_a_gpu_that_fails_when_cuda_starts_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch raises an exception of its own type then, with several lines."""

    def init() -> None:
        raise torch.cuda.DeferredCudaCallError(
            "CUDA call failed lazily at initialization with error: unknown error\n\nIt was called"
        )

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", init)
    reason = "CUDA call failed lazily at initialization with error: unknown error"
    assert gpus.first_gpu() == Gpu(fault=f"torch {torch.__version__}: {reason}")
