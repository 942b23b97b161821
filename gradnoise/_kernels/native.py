"""The noise kernel as machine code."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gradnoise._kernels.job import CHUNK, JOB
from gradnoise._kernels.machine_code import Kernel

Job = npt.NDArray[Any]


def new_job(*arrays: Any, n_shares: int) -> Job:
    """Return a job for `KERNEL`.

    Args:
        arrays: The arguments of `compiled.add_share` up to `squares`; they must be alive until the
            job is done.
        n_shares: The number of shares into which it is divided; at least 1.

    Raises:
        ValueError: If an array is not contiguous, or its numbers are not of 8 bytes.
    """
    if not all(array.flags.c_contiguous and array.itemsize == 8 for array in arrays):
        raise ValueError(
            "arrays must be contiguous and of 8-byte numbers, as the kernel reads them."
        )
    addresses, _, _, _, ts, stds, states, _, squares = arrays
    lengths = (len(addresses), len(ts), len(stds), len(states), len(squares))
    return np.array([(*(array.ctypes.data for array in arrays), *lengths, n_shares, 0)], JOB)


def n_chunks(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> int:
    """Return the number of chunks of runs of these first elements and sizes."""
    ends = -(-(starts + sizes) // CHUNK)
    return int(np.where(sizes > 0, ends - starts // CHUNK, 0).sum())


KERNEL = Kernel("compiled", "__init__.py", "compiled.py", "job.py")
"""Does shares of a job of `new_job`."""
