"""Parts: which elements of a parameter a tensor holds.

A shard or a sparse gradient gets the noise of the elements that it holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Part:
    """Runs of consecutive elements of a parameter, in the order of the tensor that holds them.

    A tensor without elements has one empty run, so that every tensor has a run.

    Args:
        starts: The first element of each run; elements are counted row by row.
        size: Elements in each run.
    """

    starts: npt.NDArray[np.int64]
    size: int


def whole(shape: Sequence[int]) -> Part:
    """Return the part that is a whole parameter of this shape."""
    return Part(np.zeros(1, dtype=np.int64), math.prod(shape))


def of_box(shape: Sequence[int], local: Sequence[int], offsets: Sequence[int]) -> Part:
    """Return the part of a parameter that is a box of shape `local` at the offsets.

    >>> part = of_box((4, 3), (2, 2), (1, 0))
    >>> part.starts.tolist(), part.size
    ([3, 6], 2)
    """
    if 0 in local:
        return whole((0,))
    n_leading = max((axis for axis in range(len(shape)) if local[axis] < shape[axis]), default=0)
    starts = np.zeros(1, dtype=np.int64)
    for axis in range(n_leading):
        starts = (
            starts[:, None] * shape[axis] + np.arange(offsets[axis], offsets[axis] + local[axis])
        ).reshape(-1)
    if shape:
        starts = starts * shape[n_leading] + offsets[n_leading]
    return Part(starts * math.prod(shape[n_leading + 1 :]), math.prod(local[n_leading:]))
