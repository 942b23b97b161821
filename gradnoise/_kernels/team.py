"""The compiled kernel on torch's own OpenMP threads: after torch's work these spin for a while, and
would keep others from their cores.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from gradnoise.kernels.compiled import add_all, pointer

_found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
if not _found:
    raise ImportError("torch brings no libgomp on this system.")
_gomp = ctypes.CDLL(str(_found[0]))
_gomp.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
_gomp.GOMP_parallel.restype = None

ARRAYS = ("addresses", "starts", "sizes", "keys", "ts", "stds")
ORDER = np.dtype(
    [
        (name, np.int64)
        for name in (*ARRAYS, "n_runs", "n_ts", "n_stds", "n_shares", "next_share", "clash")
    ]
)
NEXT_SHARE: int = ORDER.fields["next_share"][1]  # type: ignore[index]  # it has fields


def add_all_on(
    n_threads: int,
    addresses: Any,
    starts: Any,
    sizes: Any,
    keys: Any,
    ts: Any,
    stds: Any,
    n_shares: int,
) -> bool:
    """Do all shares of `compiled.add_all` on so many threads, each share on whichever is free."""
    places = (array.ctypes.data for array in (addresses, starts, sizes, keys, ts, stds))
    order = np.array([(*places, len(addresses), len(ts), len(stds), n_shares, 0, 0)], ORDER)
    _gomp.GOMP_parallel(_worker.address, order.ctypes.data, n_threads, 0)
    return not order["clash"][0]


@intrinsic  # type: ignore[untyped-decorator]  # of numba
def _take_next(_typing: Any, _address: Any) -> Any:
    """Add 1 to the int64 at the address, whatever other threads do, and return what was there."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        i64 = ir.IntType(64)
        return builder.atomic_rmw(
            "add", builder.inttoptr(arguments[0], i64.as_pointer()), i64(1), "monotonic"
        )

    return types.int64(types.int64), generate


def _work(address: int) -> None:
    order = carray(pointer(address, ORDER), 1)[0]
    n = order.n_runs
    addresses = carray(pointer(order.addresses, np.int64), n)
    starts = carray(pointer(order.starts, np.int64), n)
    sizes = carray(pointer(order.sizes, np.int64), n)
    keys = carray(pointer(order.keys, np.uint64), n)
    ts = carray(pointer(order.ts, np.int64), order.n_ts)
    stds = carray(pointer(order.stds, np.float64), order.n_stds)
    while True:
        share = _take_next(address + NEXT_SHARE)
        if share >= order.n_shares:
            break
        if not add_all(addresses, starts, sizes, keys, ts, stds, order.n_shares, share):
            order.clash = 1


_worker = cfunc(types.void(types.int64))(_work)
