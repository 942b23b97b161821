"""The Triton kernel, on a GPU or in Triton's interpreter (`make test-library`), and compiled for a
GPU that need not be there.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gradnoise._kernels import portable
from gradnoise._kernels.runs import Runs
from gradnoise._parts import Part, whole
from gradnoise._processes.preconditioned import RootMeanSquare

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


@pytest.mark.parametrize(
    ("dtype", "t"),
    [
        *((torch.float32, t) for t in (0, 1, 2**31 + 5, 2**40 + 3)),
        (torch.bfloat16, 2**40 + 3),
        (torch.float16, 2**31 + 5),
    ],
)
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
        resolution = max(torch.finfo(dtype).eps * 16, 4e-6) * std
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
    stack = cuda.Rows(rows, runs)
    stack.add_(
        torch.tensor(ts, device=DEVICE), torch.tensor(stds, dtype=torch.float64, device=DEVICE)
    )
    for row, t, std, row_keys in zip(rows.cpu(), ts, stds, keys.reshape(3, 3), strict=True):
        for values, key in zip(row.split(sizes), row_keys.tolist(), strict=True):
            expected = np.full(len(values), 0.25, dtype=np.float32)
            portable.add(expected, 0, key, t, std)
            torch.testing.assert_close(values, torch.from_numpy(expected), rtol=0, atol=4e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mean_squares_precondition_the_noise_of_each_row(dtype: torch.dtype) -> None:
    """Each row has its own rule; the first has none and is not read, the second has no noise."""
    sizes, keys = [300, 41], np.arange(8, dtype=np.uint64)
    n = sum(sizes)
    gradients = torch.linspace(-1, 1, 4 * n).view(4, n).to(dtype)
    gradients[0] = -0.0  # a sum with 0 would lose the sign
    before = torch.linspace(0, 2, 4 * n).view(4, n)
    rows, states = gradients.to(DEVICE, copy=True), before.to(DEVICE, copy=True)
    runs = Runs(
        owners=np.repeat(np.arange(4), 2),
        offsets=np.tile([0, 300], 4),
        starts=np.zeros(8, dtype=np.int64),
        sizes=np.tile(sizes, 4),
        keys=keys,
    )
    rules = [(0.0, 0.0, 0.0, 0.0), (0.9, 0.1, 0.1, 1.0), (0.5, 0.5, 1e-5, 0.25), (1, 0, 2.0, 1)]
    ts, stds = [3, 2**40 + 3, 0, 9], [0.5, 0.0, 0.5, 2.0]
    cuda.Rows(rows, runs, states).add_(
        torch.tensor(ts, device=DEVICE),
        torch.tensor(stds, dtype=torch.float64, device=DEVICE),
        torch.tensor(rules, dtype=torch.float64, device=DEVICE).T.contiguous(),
    )
    assert torch.equal(rows[0].cpu().signbit(), torch.ones(n, dtype=torch.bool))
    assert torch.equal(states[0].cpu(), before[0])
    for k, (keep, weight, damping, unscale) in enumerate(rules[1:], start=1):
        gradient = unscale * gradients[k].float()
        state = keep * before[k] + weight * gradient.square()
        torch.testing.assert_close(states[k].cpu(), state, rtol=1e-6, atol=1e-7)
        drawn = np.zeros(n, dtype=np.float32)
        for part, key in zip(np.split(drawn, [300]), keys.reshape(4, 2)[k].tolist(), strict=True):
            portable.add(part, 0, key, ts[k], 1.0)
        scale = stds[k] / (damping + state.sqrt()).sqrt()
        expected = gradients[k].float() + scale * torch.from_numpy(drawn)
        resolution = max(16 * torch.finfo(dtype).eps, 4e-6) * float(scale.max()) + 1e-6
        torch.testing.assert_close(rows[k].cpu().float(), expected, rtol=1e-6, atol=resolution)


def test_tensors_have_the_preconditioned_noise_of_the_cpu() -> None:
    """For gradients that are scaled by 4."""
    rule = RootMeanSquare(decay=0.9, damping=0.01)
    gradient, state = torch.linspace(-4, 4, 300), torch.linspace(0, 1, 300)
    found, state_found = (tensor.to(DEVICE, copy=True) for tensor in (gradient, state))
    numbers = np.array([rule.decay, 1 - rule.decay, rule.damping, 1 / 4])
    runs = Runs.of([whole((300,))], [7])
    cuda.add_([found], runs, 3, np.array([0.5]), [state_found], numbers)
    rule.update_(state, gradient / 4)
    drawn = np.zeros(300, dtype=np.float32)
    portable.add(drawn, 0, 7, 3, 0.5)
    expected = gradient + rule.scale(state) * torch.from_numpy(drawn)
    torch.testing.assert_close(state_found.cpu(), state, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=2e-5)


def test_small_parameters_leave_few_numbers_of_a_program_idle() -> None:
    """Programs are small for the 20 x 50 network, and large for a large tensor."""
    widths = [784, *[50] * 20, 10]
    sizes = [size for n, m in itertools.pairwise(widths) for size in (n * m, m)]
    for parts, idle_at_most, n_groups in (
        ([whole((size,)) for size in sizes], 0.15, cuda.FEW_GROUPS),
        ([whole((1_000_000,))], 0.01, cuda.MANY_GROUPS),
    ):
        runs = Runs.of(parts, [0] * len(parts))
        plan = cuda._Plan(runs, [True] * len(parts), DEVICE)
        assert plan.n_groups == n_groups
        n_numbers = plan.n_programs * plan.n_groups * cuda.GROUP
        assert runs.n_numbers <= n_numbers <= runs.n_numbers / (1 - idle_at_most)


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from gradnoise._kernels import cuda

names = list(cuda._add.arg_names)
types = dict.fromkeys(names, "*i64") | {"stds": "*fp64", "rules": "*fp64", "n_owners": "i32"}
for dtype in cuda.TYPES.values():
    for n_groups, has_states in ((cuda.MANY_GROUPS, False), (cuda.FEW_GROUPS, True)):
        constants = {"dtype": dtype, "GROUPS": n_groups, "HAS_STATES": has_states}
        source = ASTSource(
            fn=cuda._add,
            signature=types | dict.fromkeys(constants, "constexpr"),
            constexprs={(names.index(name),): value for name, value in constants.items()},
        )
        kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        assert ".target sm_90" in kernel.asm["ptx"]
        assert kernel.asm["cubin"]
        slow = [word for word in ("sin.", "cos.", "lg2.", ".local") if word in kernel.asm["ptx"]]
        print(dtype, has_states, slow)
"""


def test_it_compiles_for_hopper_in_every_type(tmp_path: Path) -> None:
    """Without a GPU, and without functions of the hardware that are less exact or slow."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(cuda.TYPES)
    assert all(line.endswith(" []") for line in lines), lines
