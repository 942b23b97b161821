"""The GPU kernel adds the noise where it can be built; elsewhere the noise is drawn on the CPU."""

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from gradnoise import _kernels
from gradnoise._kernels import backends
from gradnoise._noise import Noise, StackedNoise

SHAPES = {"weight": (300, 7), "bias": (3,)}


class OnGpu(torch.Tensor):
    """A tensor in CPU memory that counts as one on a GPU."""

    is_cuda = True
    is_cpu = False


@pytest.fixture(autouse=True)
def _forget_launch_faults() -> Iterator[None]:
    backends.launch_fault.cache_clear()
    yield
    backends.launch_fault.cache_clear()


def zeros(dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.zeros(shape, dtype=dtype).as_subclass(OnGpu) for shape in SHAPES.values()]


def drawn(dtype: torch.dtype) -> list[torch.Tensor]:
    tensors = [torch.zeros(shape, dtype=dtype) for shape in SHAPES.values()]
    Noise(5, SHAPES).add_(tensors, 7, 0.5)
    return tensors


FAULTS = {
    "no compiler": RuntimeError("Failed to find C compiler."),
    "compiler failed": subprocess.CalledProcessError(1, ["gcc", "driver.c"]),
    "no such compiler": FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/opt/cc"),
    "read-only cache": OSError(errno.EROFS, os.strerror(errno.EROFS), "/root/.triton"),
    "noexec cache": ImportError("cuda_utils.so: failed to map segment from shared object"),
    "architecture": type("PTXASError", (Exception,), {})("'sm_999' is not a recognized processor"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_kernel_that_cannot_be_built_is_logged_once_and_the_noise_is_the_same(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def add_(*_: object) -> None:
        raise fault

    monkeypatch.setattr(backends, "cuda", lambda: SimpleNamespace(add_=add_))
    noise, tensors = Noise(5, SHAPES), zeros(torch.bfloat16)
    noise.add_(tensors, 7, 0.5)
    rows = torch.zeros(2, 2_103, dtype=torch.bfloat16).as_subclass(OnGpu)
    StackedNoise([noise, noise], rows).add_([7, 7], [0.5, 0.0])
    expected = drawn(torch.bfloat16)
    for tensor, plain in zip(tensors, expected, strict=True):
        assert torch.equal(tensor.as_subclass(torch.Tensor), plain)
    assert torch.equal(
        rows.as_subclass(torch.Tensor)[0], torch.cat([plain.reshape(-1) for plain in expected])
    )
    assert not rows.any(dim=1)[1]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(
        "The kernel for bfloat16 noise cannot be built for cpu, so the noise is drawn on the CPU, "
        f"with the same values up to rounding: {type(fault).__name__}: "
    )


def test_numba_that_gives_no_machine_code_is_logged_once_and_the_noise_is_close(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a version with other internals; without numba nothing is logged."""
    expected = drawn(torch.float32)

    def find_spec(name: str, *_: object) -> None:
        if name == "gradnoise._kernels.native":
            raise faults[-1]

    faults: list[Exception] = [AttributeError("'Target' has no\n  'create_target_machine'")]
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=find_spec), *sys.meta_path])
    for fault in (*faults, ModuleNotFoundError("No module named 'numba'")):
        faults.append(fault)
        backends.native.cache_clear()
        monkeypatch.delitem(sys.modules, "gradnoise._kernels.native", raising=False)
        monkeypatch.delattr(_kernels, "native", raising=False)
        for _ in range(2):
            for tensor, compiled in zip(drawn(torch.float32), expected, strict=True):
                torch.testing.assert_close(tensor, compiled, rtol=0, atol=4e-6 * 0.5)
    backends.native.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "The kernel for noise on the CPU cannot be built, so numpy draws the noise, several times "
        "slower: AttributeError: 'Target' has no 'create_target_machine'"
    ]


def test_a_gpu_without_free_memory_may_get_the_kernel_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lack of memory is raised, so that fewer trials train at once."""
    faults = [RuntimeError("Triton Error [CUDA]: out of memory")]

    def add_(*_: object) -> None:
        if faults:
            raise faults.pop()

    monkeypatch.setattr(backends, "cuda", lambda: SimpleNamespace(add_=add_))
    (tensor, _) = zeros(torch.float32)
    with pytest.raises(RuntimeError, match="out of memory"):
        backends.is_on_gpu(tensor)
    assert backends.is_on_gpu(tensor)


@pytest.mark.skipif(backends.cuda() is None, reason="needs Triton")
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_triton_adds_the_noise_or_says_why_not(caplog: pytest.LogCaptureFixture) -> None:
    """Its interpreter adds the noise in CPU memory; its compiler finds no GPU here."""
    (weight, bias) = zeros(torch.float32)
    Noise(5, SHAPES).add_([weight, bias], 7, 0.5)
    for tensor, plain in zip((weight, bias), drawn(torch.float32), strict=True):
        torch.testing.assert_close(tensor.as_subclass(torch.Tensor), plain, rtol=0, atol=4e-6)
    if os.environ.get("TRITON_INTERPRET"):
        assert not caplog.records
    else:
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "active driver" in caplog.text


@pytest.mark.skipif(not os.environ.get("TRITON_INTERPRET"), reason="needs TRITON_INTERPRET=1")
def test_without_the_interpreter_triton_says_why_not() -> None:
    """Triton reads the variable when it is imported, so another process runs the test above."""
    name = f"{__file__}::{test_triton_adds_the_noise_or_says_why_not.__name__}"
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    arguments = ["-q", "-n", "0", "--confcutdir=tests/gradnoise", name]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
