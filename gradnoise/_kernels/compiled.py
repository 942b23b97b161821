"""The noise kernel for the CPU's vector units, for numba to compile; equals `portable` to rounding.

Each phase is a simple loop that reads scratch memory in the first-level cache and writes a single
array: the form that LLVM vectorises. Products and sums may be contracted; no other floating-point
rule is relaxed.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core.cgutils import alloca_once
from numba.extending import intrinsic

from gradnoise._kernels import (
    COSINE,
    GROUP,
    LANES,
    LOGARITHM,
    MULTIPLIERS,
    ROOT_HALF,
    ROUNDS,
    SINE,
    WEYL,
)
from gradnoise._kernels.intrinsics import kernel, pointer, take_next, widest
from gradnoise._kernels.job import CHUNK, JOB, NEXT_SHARE
from gradnoise._kernels.object_file import object_file as _object_file

PAIRS = GROUP // 2
BLOCK = 256  # numbers whose squares are added in float32, if the sum is within these bounds
TINY, HUGE = 1e-30, 1e38
LINE = 64  # bytes of a cache line

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
M0, M1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
W0, W1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])

MANTISSA_FROM = np.int32(ROOT_HALF)
EXPONENT_31 = np.int32(31 << 23)
LN2 = np.float32(-2 * math.log(2))
L0, L1, L2, L3, L4, L5, L6, L7 = map(np.float32, LOGARITHM)
C0, C1, C2, C3, C4 = map(np.float32, COSINE)
S0, S1, S2, S3, S4 = map(np.float32, SINE)


@intrinsic  # type: ignore[untyped-decorator]  # of numba
def _scratch(_typing: Any, kind: Any) -> Any:
    """Return a pointer to CHUNK numbers of a type on the stack of the function."""

    def generate(context: Any, builder: Any, signature: Any, _arguments: Any) -> Any:
        memory = alloca_once(builder, ir.ArrayType(context.get_data_type(kind.dtype), CHUNK))
        memory.align = LINE
        return builder.bitcast(memory, context.get_value_type(signature.return_type))

    return types.CPointer(kind.dtype)(kind), generate


@intrinsic  # type: ignore[untyped-decorator]
def _fetch(_typing: Any, _address: Any) -> Any:
    """Prefetch the cache line at the address for writing."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        )
        builder.call(prefetch, [builder.inttoptr(arguments[0], byte), i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.none(types.int64), generate


@kernel()
def add_share(
    addresses: Any,
    starts: Any,
    sizes: Any,
    keys: Any,
    ts: Any,
    stds: Any,
    states: Any,
    rule: Any,
    squares: Any,
    n_shares: int,
    share: int,
) -> None:
    """Add std * z to a share of many float32 runs in memory, in place.

    Args:
        addresses: The address of each run, int64; no two runs share memory.
        starts: The element of its stream that each run starts with, int64.
        sizes: Numbers in each run, int64.
        keys: Each run's key, uint64.
        ts: The update count of each run, or a single one for all, int64; in [0, 2^63).
        stds: The standard deviation of each run, or a single one for all, float64, in the numbers'
            units; 0: the run stays unchanged, but for its state.
        states: The address of each run's mean squares V, float32, int64; empty: there are none.
        rule: float64: the share of V that is kept, the weight of g^2, the damping, and the factor
            from the numbers to gradients g. V is updated with g, and z is divided by
            sqrt(damping + sqrt(V)).
        squares: Set to the sum of the squares of the numbers before the noise of each chunk of a
            run, in order, float64; empty: not computed. It does not depend on the shares.
        n_shares: Number of shares into which the chunks of all runs are divided; at least 1.
        share: Index of the share, from 0.
    """
    widest()
    words = carray(_scratch(np.uint32), CHUNK)
    drawn = carray(_scratch(np.float32), CHUNK)
    has_states, has_squares = len(states) > 0, len(squares) > 0
    keep, weight, damping = np.float32(rule[0]), np.float32(rule[1]), np.float32(rule[2])
    unscale = np.float32(rule[3])
    n_chunks = 0
    for run in range(len(addresses)):
        n_chunks += _n_chunks(starts[run], sizes[run])
    skip = n_chunks * share // n_shares
    left = n_chunks * (share + 1) // n_shares - skip
    first = 0
    for run in range(len(addresses)):
        n = _n_chunks(starts[run], sizes[run])
        if skip >= n:
            skip -= n
            first += n
            continue
        start = starts[run]
        stop = start + sizes[run]
        values = carray(pointer(addresses[run], np.float32), sizes[run])
        t = ts[run] if len(ts) > 1 else ts[0]
        scale = np.float32(stds[run] if len(stds) > 1 else stds[0])
        base = start // CHUNK
        is_noisy = scale != 0 or has_states
        is_used = is_noisy or has_squares
        for chunk in range(base + skip, base + (min(n, skip + left) if is_used else skip)):
            lo = max(start, chunk * CHUNK)
            hi = min(stop, (chunk + 1) * CHUNK)
            at = values[lo - start : hi - start]
            if not is_noisy:
                squares[first + chunk - base] = _sum_of_squares(at)
                continue
            group = lo // GROUP
            n_groups = (hi + GROUP - 1) // GROUP - group
            before = lo - group * GROUP
            _philox(group, n_groups, t, keys[run], words, addresses[run] + 4 * (lo - start))
            _radii(words, drawn, n_groups)
            _pairs(words, drawn, n_groups)
            if has_squares:
                squares[first + chunk - base] = _sum_of_squares(at)
            z = drawn[before : before + hi - lo]
            if has_states:
                state = carray(pointer(states[run], np.float32), sizes[run])[
                    lo - start : hi - start
                ]
                _update(state, at, keep, weight, unscale)
                _precondition(z, state, damping)
            if scale != 0:
                _add(at, z, scale)
        left -= min(n, skip + left) - skip
        skip = 0
        first += n
        if left == 0:
            break


@kernel()
def _n_chunks(start: int, size: int) -> int:
    return (start + size + CHUNK - 1) // CHUNK - start // CHUNK if size else 0


@kernel()
def _philox(group: int, n_groups: int, t: int, key: int, words: Any, address: int) -> None:
    t0, t1 = np.uint64(t) & LOW, np.uint64(t) >> HALF
    key0, key1 = np.uint64(key) & LOW, np.uint64(key) >> HALF
    for g in range(n_groups):
        at = g * GROUP
        for line in range(0, 4 * GROUP, LINE):
            _fetch(address + 4 * at + line)
        for lane in range(LANES):
            block = np.uint64((group + g) * LANES + lane)
            c0, c1, c2, c3 = block & LOW, block >> HALF, t0, t1
            k0, k1 = key0, key1
            for _ in range(ROUNDS):
                p0 = M0 * c0
                p1 = M1 * c2
                c0 = (p1 >> HALF) ^ c1 ^ k0
                c1 = p1 & LOW
                c2 = (p0 >> HALF) ^ c3 ^ k1
                c3 = p0 & LOW
                k0 = (k0 + W0) & LOW
                k1 = (k1 + W1) & LOW
            # the words of the radii first, then those of the angles
            words[at + lane] = np.uint32(c0)
            words[at + LANES + lane] = np.uint32(c2)
            words[at + 2 * LANES + lane] = np.uint32(c1)
            words[at + 3 * LANES + lane] = np.uint32(c3)


@kernel(fastmath={"contract"})
def _radii(words: Any, radii: Any, n_groups: int) -> None:
    widest()
    for g in range(n_groups):
        for pair in range(PAIRS):
            i = g * GROUP + pair
            u = np.float32(np.int32(words[i] >> np.uint32(1))) + np.float32(0.5)
            bits = np.int32(np.float32(u).view(np.int32) - EXPONENT_31)
            exponent = np.int32(np.int32(bits - MANTISSA_FROM) >> np.int32(23))
            x = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - np.float32(1)
            log = x * (
                L0 + x * (L1 + x * (L2 + x * (L3 + x * (L4 + x * (L5 + x * (L6 + x * L7))))))
            )
            radii[i] = np.sqrt(np.float32(exponent) * LN2 + log)


@kernel(fastmath={"contract"})
def _pairs(words: Any, drawn: Any, n_groups: int) -> None:
    widest()
    for g in range(n_groups):
        for pair in range(PAIRS):
            i = g * GROUP + pair
            word = words[i + PAIRS]
            sign = np.int32(word & np.uint32(0x80000000))
            radius = np.int32(np.int32(np.float32(drawn[i]).view(np.int32)) | sign).view(np.float32)
            x = np.float32(np.int32(np.uint32(word << np.uint32(1)))) * np.float32(2.0**-31)
            xx = x * x
            drawn[i] = radius * (C0 + xx * (C1 + xx * (C2 + xx * (C3 + xx * C4))))
            drawn[i + PAIRS] = (radius * x) * (S0 + xx * (S1 + xx * (S2 + xx * (S3 + xx * S4))))


@kernel(fastmath={"contract"})
def _add(values: Any, drawn: Any, std: Any) -> None:
    widest()
    for i in range(len(values)):
        values[i] += std * drawn[i]


@kernel(fastmath={"contract"})
def _update(state: Any, values: Any, keep: Any, weight: Any, unscale: Any) -> None:
    widest()
    for i in range(len(state)):
        gradient = unscale * values[i]
        state[i] = keep * state[i] + weight * gradient * gradient


@kernel(fastmath={"contract"})
def _precondition(drawn: Any, state: Any, damping: Any) -> None:
    widest()
    for i in range(len(drawn)):
        drawn[i] /= np.sqrt(damping + np.sqrt(state[i]))


@kernel(fastmath={"contract", "reassoc"})
def _sum_of_squares(values: Any) -> float:
    widest()
    total = 0.0
    for first in range(0, len(values), BLOCK):
        block = values[first : min(first + BLOCK, len(values))]
        narrow = np.float32(0)
        for i in range(len(block)):
            narrow += block[i] * block[i]
        wide = np.float64(narrow)
        if not TINY < wide < HUGE:  # squares may have left the range of float32
            wide = np.float64(0)
            for i in range(len(block)):
                number = np.float64(block[i])
                wide += number * number
        total += wide
    return total


def _add_shares(address: int) -> None:
    job = carray(pointer(address, JOB), 1)[0]
    n = job.n_runs
    addresses = carray(pointer(job.addresses, np.int64), n)
    starts = carray(pointer(job.starts, np.int64), n)
    sizes = carray(pointer(job.sizes, np.int64), n)
    keys = carray(pointer(job.keys, np.uint64), n)
    ts = carray(pointer(job.ts, np.int64), job.n_ts)
    stds = carray(pointer(job.stds, np.float64), job.n_stds)
    states = carray(pointer(job.states, np.int64), job.n_states)
    rule = carray(pointer(job.rule, np.float64), 4)
    squares = carray(pointer(job.squares, np.float64), job.n_squares)
    while True:
        share = take_next(address + NEXT_SHARE)
        if share >= job.n_shares:
            break
        add_share(
            addresses, starts, sizes, keys, ts, stds, states, rule, squares, job.n_shares, share
        )


def object_file(name: str) -> bytes:
    """Return an object file with the function `void name(int64_t job)`.

    The function does shares of the job at an address until none is left.
    """
    return _object_file(_add_shares, name)
