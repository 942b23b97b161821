"""Compiled kernels on as many threads as torch uses."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradnoise._kernels import backends
from gradnoise._kernels.runs import Integers, Runs

# numbers per share; larger where there would be more than SHARES_PER_THREAD shares per thread
SHARE = 2**17
SHARES_PER_THREAD = 16  # each share walks through all runs, so the number of shares is bounded
# for fewer numbers, handing over a share costs more than it saves
THREADED_FROM = 2**18


Floats = npt.NDArray[np.float64]

NO_STATES, NO_RULE = np.empty(0, dtype=np.int64), np.zeros(4)
NO_SQUARES = np.empty(0)


def add_on_threads(
    runs: Runs,
    addresses: Integers,
    ts: Integers,
    stds: Floats,
    states: Integers = NO_STATES,
    rule: Floats = NO_RULE,
    squares: Floats = NO_SQUARES,
) -> None:
    """Add std * z to float32 runs in CPU memory.

    Args:
        runs: The runs.
        addresses: The address of each run; no two runs share memory.
        ts: The update count of each run, or a single one for all.
        stds: The standard deviation of each run, or a single one for all.
        states: The address of each run's mean squares, if the noise is preconditioned.
        rule: How, as `compiled.add_share` describes.
        squares: Set to the sum of squares of each chunk before the noise; empty: not computed.
    """
    native = backends.native()
    assert native is not None
    n_threads = torch.get_num_threads() if runs.n_numbers >= THREADED_FROM else 1
    columns = (addresses, runs.starts, runs.sizes, runs.keys, ts, stds, states, rule, squares)
    n_shares = min(-(-runs.n_numbers // SHARE), SHARES_PER_THREAD * n_threads)
    job = native.new_job(*columns, n_shares=1 if n_threads == 1 else n_shares)
    run(native.KERNEL, job.ctypes.data, n_threads)


def run(kernel: Any, job: int, n_threads: int) -> None:
    """Do the job of a `Kernel` at an address on n_threads threads."""
    if n_threads == 1:
        kernel.run(job)
    elif openmp := backends.openmp():
        openmp.run(kernel, job, n_threads)
    else:
        pool = _threads(n_threads)
        others = [pool.submit(kernel.run, job) for _ in range(1, n_threads)]
        kernel.run(job)
        for other in others:
            other.result()


@functools.cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n - 1, thread_name_prefix="gradnoise")


if hasattr(os, "register_at_fork"):
    # threads do not survive a fork; those of a new pool do their work
    os.register_at_fork(after_in_child=_threads.cache_clear)
