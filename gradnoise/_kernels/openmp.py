"""The compiled kernel on torch's OpenMP threads, by libgomp's GOMP_parallel.

torch's OpenMP threads spin for some milliseconds after torch's work and occupy the cores that other
threads would need, so noise directly after a backward pass is slower on threads of Python. Measured
on 2 cores that other processes used at times, for the 10 million gradients of an MLP after its
backward pass at batch 512: a pool of Python threads took 1.26 [1.14, 1.79] times as long (20.3 ms
against 16.1 ms; fastest call per round, median and range of 10 interleaved rounds). Without work of
torch before the noise there was no clear difference: 0.98 to 1.11 in three runs.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from gradnoise._kernels.compiled import add_all, pointer

_found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
if not _found:
    raise ImportError("torch has no libgomp on this system.")
_gomp = ctypes.CDLL(str(_found[0]))
_gomp.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
_gomp.GOMP_parallel.restype = None

ARRAYS = ("addresses", "starts", "sizes", "keys", "ts", "stds", "states", "rule", "squares")
LENGTHS = ("n_runs", "n_ts", "n_stds", "n_states", "n_squares")
# what the threads share: the arrays' addresses and lengths, and the next share
JOB = np.dtype([(name, np.int64) for name in (*ARRAYS, *LENGTHS, "n_shares", "next_share")])
NEXT_SHARE: int = JOB.fields["next_share"][1]  # type: ignore[index]  # its offset; fields is set


def add_all_on(
    n_threads: int,
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
) -> None:
    """Do all shares of `compiled.add_all` on n_threads threads; each takes a free share."""
    arrays = (addresses, starts, sizes, keys, ts, stds, states, rule, squares)
    lengths = map(len, (addresses, ts, stds, states, squares))
    job = np.array([(*(array.ctypes.data for array in arrays), *lengths, n_shares, 0)], JOB)
    _gomp.GOMP_parallel(_worker.address, job.ctypes.data, n_threads, 0)


@intrinsic  # type: ignore[untyped-decorator]  # of numba
def _take_next(_typing: Any, _address: Any) -> Any:
    """Add 1 to the int64 at the address atomically, and return the value before."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        i64 = ir.IntType(64)
        return builder.atomic_rmw(
            "add", builder.inttoptr(arguments[0], i64.as_pointer()), i64(1), "monotonic"
        )

    return types.int64(types.int64), generate


def _work(address: int) -> None:
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
        share = _take_next(address + NEXT_SHARE)
        if share >= job.n_shares:
            break
        add_all(
            addresses, starts, sizes, keys, ts, stds, states, rule, squares, job.n_shares, share
        )


try:
    _worker = cfunc(types.void(types.int64), cache=True)(_work)
except RuntimeError:  # no folder for the cache is writable
    _worker = cfunc(types.void(types.int64))(_work)
