import pytest
import torch

from gradnoise.training.memory import free_bytes, is_out_of_memory, peak_bytes, reset_peak

CPU = torch.device("cpu")


def test_the_free_memory_is_that_of_this_machine() -> None:
    """It is larger than a tensor that torch allocates now, and smaller than a petabyte."""
    allocated = torch.zeros(10_000_000)
    assert allocated.nbytes < free_bytes(CPU) < 2**50


def test_the_peak_counts_from_its_reset() -> None:
    """A tensor of 80 MB raises it, also after the tensor is freed."""
    before = reset_peak(CPU)
    assert before > 0
    allocated = torch.ones(10_000_000, dtype=torch.float64)
    n_bytes = allocated.nbytes
    del allocated
    assert peak_bytes(CPU) >= before + 0.9 * n_bytes


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shapes do not match"), False),
        (ValueError("allocate memory"), False),
    ],
)
def test_an_exception_on_lack_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_lack_of_memory_shows_in_the_error_before_the_one_that_ended_a_capture() -> None:
    error = RuntimeError("operation failed due to a previous error during capture")
    error.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert is_out_of_memory(error)


def test_on_a_gpu_the_reserved_memory_counts_without_what_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 100 bytes, tensors use 30, a CUDA graph 20, and 10 are kept for the next tensors."""
    reserved, peak = 60, 80

    def empty_cache() -> None:
        nonlocal reserved
        reserved = 50

    def reset(_device: torch.device) -> None:
        nonlocal peak
        peak = reserved

    gpu = torch.device("cuda")
    for name, stands_in in {
        "empty_cache": empty_cache,
        "reset_peak_memory_stats": reset,
        "memory_reserved": lambda _device: reserved,
        "max_memory_reserved": lambda _device: peak,
        "mem_get_info": lambda _device: (100 - reserved, 100),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stands_in)
    assert peak_bytes(gpu) == 80
    assert free_bytes(gpu) == 50
    assert reset_peak(gpu) == peak_bytes(gpu) == 50
