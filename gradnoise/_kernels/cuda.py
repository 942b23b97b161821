"""The noise kernel for CUDA, in Triton; equals `portable` to rounding.

All parameters get their noise in a single launch and a single pass over memory.
"""

import contextlib
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from gradnoise._kernels import COSINE, GROUP, SINE
from gradnoise._kernels.runs import Integers, Runs

GROUPS = 16  # of any runs, in a program
C0, C1, C2, C3, C4 = map(tl.constexpr, COSINE)
S0, S1, S2, S3, S4 = map(tl.constexpr, SINE)


def add_(
    tensors: Sequence[torch.Tensor], runs: Runs, t: int, stds: npt.NDArray[np.float64]
) -> None:
    """Add std * z to tensors in place; each sum is rounded once to the tensor's type.

    Args:
        tensors: Contiguous; float32, bfloat16 or float16; on any number of GPUs.
        runs: The elements of streams that the tensors hold.
        t: Update count; in [0, 2^63).
        stds: Standard deviation of each tensor's noise, in its units.

    Raises:
        RuntimeError: During the capture of a CUDA graph: each replay would add the noise of this t.
    """
    for device, dtype in {(tensor.device, tensor.dtype) for tensor in tensors}:
        is_cuda = device.type == "cuda"  # False in Triton's interpreter
        if is_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "noise must not be captured in a CUDA graph: capture forward and backward, and "
                "call step() outside the graph."
            )
        chosen = tuple((tensor.device, tensor.dtype) == (device, dtype) for tensor in tensors)
        plan = _plan(runs, chosen, device)
        if plan.n_groups:
            addresses = [
                tensor.data_ptr()
                for tensor, is_chosen in zip(tensors, chosen, strict=True)
                if is_chosen
            ]
            with torch.cuda.device(device) if is_cuda else contextlib.nullcontext():
                bits = stds[list(chosen)].view(np.int64)
                packed = torch.tensor(
                    np.array([addresses, [t] * len(addresses), bits]),
                    device="cpu",
                    pin_memory=is_cuda,
                )
                starts, ts, std_bits = packed.to(device, non_blocking=True)
                run_addresses = starts[plan.owners] + plan.offsets * dtype.itemsize
                plan.launch(run_addresses, ts, std_bits.view(torch.float64), dtype)


class Rows:
    """The rows of a `StackedNoise` on a GPU.

    Args:
        rows: Contiguous, [members, numbers].
        runs: The elements of streams that the rows hold; the owner of a run is its row.
        addresses: The address of each run.
    """

    def __init__(self, rows: torch.Tensor, runs: Runs, addresses: Integers) -> None:
        self._dtype = rows.dtype
        self._plan = _Plan(runs, [True] * len(rows), rows.device)
        self._holds = runs.sizes > 0
        self._run_addresses = torch.tensor(addresses[self._holds], device=rows.device)

    def set_keys(self, keys: npt.NDArray[np.uint64]) -> None:
        """Replace the keys, one per run; CUDA graphs that were captured before use them too."""
        self._plan.columns[2].copy_(torch.from_numpy(keys[self._holds].view(np.int64)))

    def add_(self, ts: torch.Tensor, stds: torch.Tensor) -> None:
        """Add stds[k] * N_ts[k] to row k in place; a row whose std is 0 is not read.

        Args:
            ts: Update counts, int64, [members], on the rows' device.
            stds: Standard deviations, float64, [members], on the rows' device.
        """
        self._plan.launch(self._run_addresses, ts, stds, self._dtype)


TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class _Plan:
    """The runs of the chosen tensors, stored on their device, and their groups, run by run.

    A program takes the next GROUPS groups, whichever runs they are of, so that small parameters
    share a program.
    """

    def __init__(self, runs: Runs, is_chosen: Sequence[bool], device: torch.device) -> None:
        chosen = np.flatnonzero(np.array(is_chosen)[runs.owners] & (runs.sizes > 0))
        starts, sizes = runs.starts[chosen], runs.sizes[chosen]
        first = starts // GROUP
        n = (starts + sizes - 1) // GROUP - first + 1
        self.n_groups = int(n.sum())
        run = np.repeat(np.arange(len(chosen), dtype=np.int32), n)
        group = np.arange(self.n_groups) - np.repeat(np.cumsum(n) - n - first, n)
        renumbered = np.cumsum(is_chosen) - 1
        put = functools.partial(torch.tensor, device=device)
        self.owners = put(renumbered[runs.owners[chosen]])
        self.offsets = put(runs.offsets[chosen])
        keys = runs.keys[chosen]
        self.columns = (
            put(starts),
            put(sizes),
            put(keys.view(np.int64)),
            self.owners,
            put(run),
            put(group),
        )

    def launch(
        self,
        run_addresses: torch.Tensor,
        ts: torch.Tensor,
        stds: torch.Tensor,
        dtype: torch.dtype,
    ) -> None:
        """Add the noise of (ts[owner], stds[owner]) to each run.

        Args:
            run_addresses: The address of each run.
            ts: Update counts.
            stds: Standard deviations.
            dtype: Type of the numbers in memory.
        """
        grid = (triton.cdiv(self.n_groups, GROUPS),)
        _add[grid](run_addresses, *self.columns, self.n_groups, ts, stds, TYPES[dtype], GROUPS)


@functools.lru_cache(maxsize=64)
def _plan(runs: Runs, is_chosen: tuple[bool, ...], device: torch.device) -> _Plan:
    return _Plan(runs, is_chosen, device)


@triton.jit(do_not_specialize=["n_groups"])  # type: ignore[untyped-decorator]  # of Triton
def _add(  # type: ignore[no-untyped-def]
    run_addresses,
    starts,
    sizes,
    keys,
    owners,
    runs,
    groups,
    n_groups,
    ts,
    stds,
    dtype: tl.constexpr,
    GROUPS: tl.constexpr,  # noqa: N803
):
    """Add the noise to the groups of a program: [GROUPS, LANES] blocks of four words each."""
    row = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)[:, None]
    is_there = row < n_groups
    run = tl.load(runs + row, mask=is_there, other=0)
    member = tl.load(owners + run)
    std = tl.load(stds + member).to(tl.float32)
    std = tl.where(is_there, std, 0.0)
    if tl.max(tl.abs(std)) > 0:
        start = tl.load(starts + run)
        size = tl.where(std != 0, tl.load(sizes + run), 0)
        key = tl.load(keys + run)
        t = tl.load(ts + member)
        values = tl.load(run_addresses + run).to(tl.pointer_type(dtype))
        group = tl.load(groups + row, mask=is_there, other=0)
        lane = tl.arange(0, 32)[None, :]
        block = group * 32 + lane
        w0, w1, w2, w3 = tl.philox_impl(
            block.to(tl.uint32),
            (block >> 32).to(tl.uint32),
            tl.zeros_like(block).to(tl.uint32) + t.to(tl.uint32),
            tl.zeros_like(block).to(tl.uint32) + (t >> 32).to(tl.uint32),
            key.to(tl.uint32),
            (key >> 32).to(tl.uint32),
            10,
        )
        at = group * 128 + lane - start
        cosine, sine = _pair(w0, w1, std)
        _add_at(values, at, size, cosine, dtype)
        _add_at(values, at + 64, size, sine, dtype)
        cosine, sine = _pair(w2, w3, std)
        _add_at(values, at + 32, size, cosine, dtype)
        _add_at(values, at + 96, size, sine, dtype)


@triton.jit
def _pair(word, angle_word, std):  # type: ignore[no-untyped-def]
    u = ((word >> 1).to(tl.int32).to(tl.float32) + 0.5) * 4.656612873077393e-10  # 2^-31
    radius = std * tl.sqrt(-2.0 * tl.log(u))
    radius = tl.where((angle_word >> 31) != 0, -radius, radius)
    x = (angle_word << 1).to(tl.int32, bitcast=True).to(tl.float32) * 4.656612873077393e-10
    xx = x * x
    cosine = C0 + xx * (C1 + xx * (C2 + xx * (C3 + xx * C4)))
    sine = S0 + xx * (S1 + xx * (S2 + xx * (S3 + xx * S4)))
    return radius * cosine, radius * x * sine


@triton.jit  # type: ignore[untyped-decorator]
def _add_at(values, at, size, drawn, dtype: tl.constexpr):  # type: ignore[no-untyped-def]
    is_in = (at >= 0) & (at < size)
    value = tl.load(values + at, mask=is_in).to(tl.float32)
    tl.store(values + at, (value + drawn).to(dtype), mask=is_in)
