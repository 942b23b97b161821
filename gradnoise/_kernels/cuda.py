"""The noise kernel for CUDA, in Triton; equals `portable` to rounding.

All parameters get their noise in a single launch and a single pass over memory.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from gradnoise._kernels import COSINE, GROUP, LOGARITHM, ROOT_HALF, SINE
from gradnoise._kernels.runs import Integers, Runs

MANY_GROUPS, FEW_GROUPS = 16, 4
"""Groups per program: many hide the latency of memory, few leave less of a program idle where runs
are small.
"""
IDLE_AT_MOST = 0.1
"""The share of the numbers of programs of many groups that may lie outside the runs."""

NO_RULE = np.empty(0)


def add_(
    tensors: Sequence[torch.Tensor],
    runs: Runs,
    t: int,
    stds: npt.NDArray[np.float64],
    states: Sequence[torch.Tensor] = (),
    rule: npt.NDArray[np.float64] = NO_RULE,
) -> None:
    """Add std * z to tensors in place; each sum is rounded once to the tensor's type.

    Args:
        tensors: Contiguous; float32, bfloat16 or float16; on any number of GPUs.
        runs: The elements of streams that the tensors hold.
        t: Update count; in [0, 2^63).
        stds: Standard deviation of each tensor's noise, in its units; 0: the tensor is not read.
        states: The mean squares V of each tensor, contiguous float32 on its device; empty: there
            are none.
        rule: How they change the noise, as `compiled.add_share` describes.

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
        if not plan.n_programs:
            continue
        addresses = _addresses(tensors, chosen)
        of_states = _addresses(states, chosen) if states else addresses
        rules = np.repeat(rule.view(np.int64)[:, None], len(addresses), axis=1)
        with torch.cuda.device(device) if is_cuda else contextlib.nullcontext():
            bits = stds[list(chosen)].view(np.int64)
            ts = [t] * len(addresses)
            packed = torch.tensor(
                np.array([addresses, of_states, ts, bits, *rules]),
                device="cpu",
                pin_memory=is_cuda,
            )
            on_device = packed.to(device, non_blocking=True)
            starts, of_states_there, ts_there = on_device[:3]
            stds_there, rules_there = on_device[3].view(torch.float64), on_device[4:]
            plan.launch(
                starts[plan.owners] + plan.offsets * dtype.itemsize,
                ts_there,
                stds_there,
                dtype,
                of_states_there[plan.owners] + plan.offsets * 4 if states else None,
                rules_there.view(torch.float64) if states else None,
            )


def _addresses(tensors: Sequence[torch.Tensor], chosen: Sequence[bool]) -> list[int]:
    pairs = zip(tensors, chosen, strict=True)
    return [tensor.data_ptr() for tensor, is_chosen in pairs if is_chosen]


class Rows:
    """The rows of a `StackedNoise` on a GPU.

    Args:
        rows: Contiguous, [members, numbers].
        runs: The elements of streams that the rows hold; the owner of a run is its row.
        states: The mean squares V of each row, float32, contiguous, [members, numbers], if the
            noise is preconditioned.
    """

    def __init__(self, rows: torch.Tensor, runs: Runs, states: torch.Tensor | None = None) -> None:
        self._dtype = rows.dtype
        self._plan = _Plan(runs, [True] * len(rows), rows.device)
        self._holds = runs.sizes > 0
        self._numbers = (runs.owners * rows.shape[1] + runs.offsets)[self._holds]
        self._addresses = self._addresses_in(rows)
        self._of_states = None if states is None else self._addresses_in(states)

    def _addresses_in(self, tensor: torch.Tensor) -> torch.Tensor:
        addresses = tensor.data_ptr() + tensor.element_size() * self._numbers
        return torch.from_numpy(addresses).to(tensor.device)

    def set_keys(self, keys: npt.NDArray[np.uint64]) -> None:
        """Replace the keys, one per run; CUDA graphs that were captured before use them too."""
        self._plan.keys.copy_(torch.from_numpy(keys[self._holds].view(np.int64)))

    def add_(self, ts: torch.Tensor, stds: torch.Tensor, rules: torch.Tensor | None = None) -> None:
        """Add stds[k] * N_ts[k] to row k in place; a row whose std is 0 is not read.

        Args:
            ts: Update counts, int64, [members], on the rows' device.
            stds: Standard deviations, float64, [members], on the rows' device.
            rules: How the mean squares change the noise of each row, as `compiled.add_share`
                describes, float64, contiguous, [4, members]; a row whose damping is 0 is not read.
                None: the noise is not preconditioned.
        """
        of_states = None if rules is None else self._of_states
        self._plan.launch(self._addresses, ts, stds, self._dtype, of_states, rules)


TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class _Plan:
    """The runs of the chosen tensors, stored on their device, with each program's run and chunk."""

    def __init__(self, runs: Runs, is_chosen: Sequence[bool], device: torch.device) -> None:
        chosen = np.flatnonzero(np.array(is_chosen)[runs.owners] & (runs.sizes > 0))
        starts, sizes = runs.starts[chosen], runs.sizes[chosen]
        self.n_groups = MANY_GROUPS
        n_numbers = _n_chunks(starts, sizes, MANY_GROUPS).sum() * MANY_GROUPS * GROUP
        if n_numbers - sizes.sum() > IDLE_AT_MOST * n_numbers:
            self.n_groups = FEW_GROUPS
        n = _n_chunks(starts, sizes, self.n_groups)
        self.n_programs = int(n.sum())
        run = np.repeat(np.arange(len(chosen)), n)
        first = starts // (self.n_groups * GROUP)
        chunk = np.arange(self.n_programs) - np.repeat(np.cumsum(n) - n, n) + first[run]
        renumbered = np.cumsum(is_chosen) - 1
        put = functools.partial(torch.tensor, device=device)
        self.owners = put(renumbered[runs.owners[chosen]])
        self.offsets = put(runs.offsets[chosen])
        self.keys = put(runs.keys[chosen].view(np.int64))
        self._columns = (put(starts), put(sizes), self.keys, self.owners, put(run), put(chunk))

    def launch(
        self,
        run_addresses: torch.Tensor,
        ts: torch.Tensor,
        stds: torch.Tensor,
        dtype: torch.dtype,
        run_states: torch.Tensor | None,
        rules: torch.Tensor | None,
    ) -> None:
        """Add the noise of (ts[owner], stds[owner]) to each run.

        Args:
            run_addresses: The address of each run.
            ts: Update counts.
            stds: Standard deviations.
            dtype: Type of the numbers in memory.
            run_states: The address of the mean squares of each run; None: there are none.
            rules: [4, owners]; None: there are none.
        """
        has_states = run_states is not None
        _add[(self.n_programs,)](
            run_addresses,
            run_states if has_states else run_addresses,
            *self._columns,
            ts,
            stds,
            rules if has_states else stds,
            len(stds),
            TYPES[dtype],
            self.n_groups,
            has_states,
            enable_fp_fusion=True,
        )


def _n_chunks(starts: Integers, sizes: Integers, n_groups: int) -> Integers:
    chunk = n_groups * GROUP
    return (starts + sizes - 1) // chunk - starts // chunk + 1


@functools.lru_cache(maxsize=64)
def _plan(runs: Runs, is_chosen: tuple[bool, ...], device: torch.device) -> _Plan:
    return _Plan(runs, is_chosen, device)


def _constants(values: Sequence[float]) -> Iterator[tl.constexpr]:
    return map(tl.constexpr, values)


L0, L1, L2, L3, L4, L5, L6, L7 = _constants(LOGARITHM)
C0, C1, C2, C3, C4 = _constants(COSINE)
S0, S1, S2, S3, S4 = _constants(SINE)
MANTISSA_FROM, EXPONENT_31 = _constants((ROOT_HALF, 31 << 23))
LN2, TO_HALF_TURN = _constants((-2 * math.log(2), 2.0**-31))


@triton.jit  # type: ignore[untyped-decorator]  # of Triton
def _add(  # type: ignore[no-untyped-def]
    run_addresses,
    run_states,
    starts,
    sizes,
    keys,
    owners,
    runs,
    chunks,
    ts,
    stds,
    rules,
    n_owners,
    dtype: tl.constexpr,
    GROUPS: tl.constexpr,  # noqa: N803
    HAS_STATES: tl.constexpr,  # noqa: N803
):
    """Add the noise to the groups of a program: [GROUPS, LANES] blocks of four words each."""
    program = tl.program_id(0)
    run = tl.load(runs + program)
    member = tl.load(owners + run)
    std = tl.load(stds + member).to(tl.float32)
    keep = 1.0
    weight = 0.0
    damping = 0.0
    unscale = 1.0
    is_used = std != 0
    if HAS_STATES:
        keep = tl.load(rules + member).to(tl.float32)
        weight = tl.load(rules + n_owners + member).to(tl.float32)
        damping = tl.load(rules + 2 * n_owners + member).to(tl.float32)
        unscale = tl.load(rules + 3 * n_owners + member).to(tl.float32)
        is_used = damping != 0
    if is_used:
        start = tl.load(starts + run)
        size = tl.load(sizes + run)
        key = tl.load(keys + run)
        values = tl.load(run_addresses + run).to(tl.pointer_type(dtype))
        states = tl.load(run_states + run).to(tl.pointer_type(tl.float32))
        t = tl.load(ts + member)
        group = tl.load(chunks + program) * GROUPS + tl.arange(0, GROUPS)[:, None].to(tl.int64)
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
        cosine, sine = _pair(w0, w1)
        rule = (keep, weight, damping, unscale)
        _add_at(values, states, at, size, std, cosine, rule, dtype, HAS_STATES)
        _add_at(values, states, at + 64, size, std, sine, rule, dtype, HAS_STATES)
        cosine, sine = _pair(w2, w3)
        _add_at(values, states, at + 32, size, std, cosine, rule, dtype, HAS_STATES)
        _add_at(values, states, at + 96, size, std, sine, rule, dtype, HAS_STATES)


@triton.jit
def _pair(word, angle_word):  # type: ignore[no-untyped-def]
    u = (word >> 1).to(tl.int32).to(tl.float32) + 0.5
    bits = u.to(tl.int32, bitcast=True) - EXPONENT_31
    exponent = (bits - MANTISSA_FROM) >> 23
    x = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    log = x * (L0 + x * (L1 + x * (L2 + x * (L3 + x * (L4 + x * (L5 + x * (L6 + x * L7)))))))
    radius = tl.sqrt(exponent.to(tl.float32) * LN2 + log)
    radius = tl.where((angle_word >> 31) != 0, -radius, radius)
    x = (angle_word << 1).to(tl.int32, bitcast=True).to(tl.float32) * TO_HALF_TURN
    xx = x * x
    cosine = radius * (C0 + xx * (C1 + xx * (C2 + xx * (C3 + xx * C4))))
    sine = (radius * x) * (S0 + xx * (S1 + xx * (S2 + xx * (S3 + xx * S4))))
    return cosine, sine


@triton.jit  # type: ignore[untyped-decorator]
def _add_at(  # type: ignore[no-untyped-def]
    values,
    states,
    at,
    size,
    std,
    drawn,
    rule,
    dtype: tl.constexpr,
    HAS_STATES: tl.constexpr,  # noqa: N803
):
    is_in = (at >= 0) & (at < size)
    value = tl.load(values + at, mask=is_in).to(tl.float32)
    if HAS_STATES:
        keep, weight, damping, unscale = rule
        gradient = unscale * value
        state = keep * tl.load(states + at, mask=is_in) + weight * gradient * gradient
        tl.store(states + at, state, mask=is_in)
        drawn = drawn / tl.sqrt(damping + tl.sqrt(state))
    tl.store(values + at, (value + std * drawn).to(dtype), mask=is_in)
