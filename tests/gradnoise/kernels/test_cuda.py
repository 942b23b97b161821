"""The Triton kernel, on a GPU or in Triton's interpreter (`make test-library`)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gradnoise._kernels import portable
from gradnoise._kernels.runs import Runs
from gradnoise._parts import Part

HAS_GPU = torch.cuda.is_available()
if not (HAS_GPU or os.environ.get("TRITON_INTERPRET")):
    pytest.skip("neither a GPU nor TRITON_INTERPRET=1", allow_module_level=True)

cuda = pytest.importorskip("gradnoise._kernels.cuda")

DEVICE = torch.device("cuda" if HAS_GPU else "cpu")
PARTS = {
    "whole": Part(np.array([0]), 5_000),
    "small": Part(np.array([0]), 3),
    "nothing": Part(np.array([0]), 0),
    "late": Part(np.array([2**40 + 77]), 300),
    "runs": Part(np.array([0, 90, 4_095]), 50),
}


@pytest.mark.parametrize("t", [0, 1, 2**31 + 5, 2**40 + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_equals_the_definition_to_rounding(dtype: torch.dtype, t: int) -> None:
    """For many tensors in a single launch: whole ones, runs, and parts with any start, each with
    its own standard deviation.
    """
    stds = np.array([0.5, 0.25, 1.0, 0.0, 2.0])
    keys = [2**63 + i for i in range(len(PARTS))]
    runs = Runs.of(list(PARTS.values()), keys)
    tensors = [
        torch.full((len(part.starts) * part.size,), 0.25, dtype=dtype, device=DEVICE)
        for part in PARTS.values()
    ]
    cuda.add_(tensors, runs, t, stds)
    for tensor, part, key, std in zip(tensors, PARTS.values(), keys, stds, strict=True):
        expected = np.full((len(part.starts), part.size), 0.25, dtype=np.float32)
        for start, row in zip(part.starts.tolist(), expected, strict=True):
            portable.add(row, start, key, t, std)
        resolution = max(torch.finfo(dtype).eps * 16, 16e-6) * std
        torch.testing.assert_close(
            tensor.cpu().float(), torch.from_numpy(expected).reshape(-1), rtol=0, atol=resolution
        )


def test_types_may_be_mixed() -> None:
    runs = Runs.of([Part(np.array([0]), 200), Part(np.array([0]), 200)], [1, 1])
    wide = torch.zeros(200, device=DEVICE)
    narrow = torch.zeros(200, dtype=torch.bfloat16, device=DEVICE)
    cuda.add_([wide, narrow], runs, 0, np.ones(len(runs.owners)))
    if HAS_GPU:
        assert torch.equal(wide.bfloat16(), narrow)
    # the interpreter truncates where a GPU rounds
    eps = torch.finfo(torch.bfloat16).eps
    torch.testing.assert_close(wide, narrow.float(), rtol=eps, atol=0)


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_a_capture_in_a_cuda_graph_raises_an_error() -> None:
    """Each replay of the graph would add the same numbers."""
    runs = Runs.of([Part(np.array([0]), 200)], [1])
    tensor = torch.zeros(200, device=DEVICE)
    cuda.add_([tensor], runs, 0, np.ones(len(runs.owners)))
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        tensor.mul_(1.0)
        with pytest.raises(RuntimeError, match="must not be captured"):
            cuda.add_([tensor], runs, 1, np.ones(1))


def test_each_row_of_a_stack_has_the_noise_of_its_member() -> None:
    """Rows with different keys, update counts and stds in a single launch; the first std is 0."""
    sizes, keys = [300, 0, 41], np.arange(9, dtype=np.uint64)
    rows = torch.full((3, sum(sizes)), 0.25, device=DEVICE)
    offsets, owners = np.tile([0, 300, 300], 3), np.repeat(np.arange(3), 3)
    runs = Runs(
        owners=owners,
        offsets=offsets,
        starts=np.zeros(9, dtype=np.int64),
        sizes=np.tile(sizes, 3),
        keys=keys,
    )
    ts, stds = [3, 2**40 + 3, 0], [0.0, 0.5, 2.0]
    stack = cuda.Rows(rows, runs, rows.data_ptr() + 4 * (owners * sum(sizes) + offsets))
    stack.add_(
        torch.tensor(ts, device=DEVICE), torch.tensor(stds, dtype=torch.float64, device=DEVICE)
    )
    for row, t, std, row_keys in zip(rows.cpu(), ts, stds, keys.reshape(3, 3), strict=True):
        for values, key in zip(row.split(sizes), row_keys.tolist(), strict=True):
            expected = np.full(len(values), 0.25, dtype=np.float32)
            portable.add(expected, 0, key, t, std)
            torch.testing.assert_close(values, torch.from_numpy(expected), rtol=0, atol=4e-6)


COMPILE = """
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from gradnoise._kernels.cuda import GROUPS, TYPES, _add

types = {"runs": "*i32", "n_groups": "i32", "stds": "*fp64", "dtype": "constexpr"}
signature = {name: "*i64" for name in _add.arg_names} | types | {"GROUPS": "constexpr"}
for dtype in TYPES.values():
    source = ASTSource(fn=_add, signature=signature, constexprs={"dtype": dtype, "GROUPS": GROUPS})
    done = compile(source, target=GPUTarget("cuda", 90, 32))
    is_elf = done.asm["cubin"].startswith(b"\\x7fELF")
    ptx = done.asm["ptx"]
    print(dtype, is_elf, ".target sm_90" in ptx, ".local" in ptx)
"""


@pytest.mark.skipif(HAS_GPU, reason="the tests above compile it")
def test_it_compiles_for_sm_90_without_a_device_and_keeps_its_numbers_in_registers(
    tmp_path: Path,
) -> None:
    """In another process: Triton's compiler and its interpreter exclude each other."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    del environment["TRITON_INTERPRET"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{dtype} True True False" for dtype in ("fp32", "bf16", "fp16")
    ]
