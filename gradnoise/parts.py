"""Parts: which elements of a parameter a tensor holds, so that a shard or a sparse gradient gets
the noise of those elements.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, eq=False)
class Part:
    """Runs of `size` elements from each of `starts`, one after the other in the tensor; elements
    are counted along the parameter's rows.

    There is a run, if of no element, in a tensor without elements too.
    """

    starts: npt.NDArray[np.int64]
    size: int


def whole(shape: Sequence[int]) -> Part:
    """Return the part that is all of a parameter."""
    return Part(np.zeros(1, dtype=np.int64), math.prod(shape))


def of_shard(name: str, gradient: Any) -> tuple[torch.Tensor, Part]:
    """Return the local tensor of a DTensor, and which elements of the whole it holds.

    Raises:
        TypeError: If the gradient is not replicated, or sharded along axes, as a whole, or is
            complex.
    """
    from torch.distributed.tensor import Replicate, Shard

    if gradient.is_complex() or any(
        type(placement) not in (Replicate, Shard) for placement in gradient.placements
    ):
        raise TypeError(
            f"the gradient of {name} is placed as {gradient.placements}, {gradient.dtype}: noise "
            "is defined for real Shard and Replicate."
        )
    return gradient.to_local(), _of_box(
        tuple(gradient.shape), gradient.device_mesh, tuple(gradient.placements)
    )


@functools.lru_cache(maxsize=65_536)
def _of_box(shape: tuple[int, ...], mesh: Any, placements: tuple[Any, ...]) -> Part:
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    local, offsets = compute_local_shape_and_global_offset(shape, mesh, placements)
    return of_box(shape, local, offsets)


def of_box(shape: Sequence[int], local: Sequence[int], offsets: Sequence[int]) -> Part:
    """Return the part of a parameter of some shape that is a box of the local shape at the offsets.

    >>> of_box((4, 3), (2, 2), (1, 0)).starts.tolist(), of_box((4, 3), (2, 2), (1, 0)).size
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


def of_sparse(name: str, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Part]:
    """Return a sparse gradient coalesced, the values that it holds, which share its memory, and
    which elements they are.

    Raises:
        TypeError: If it is not of the layout sparse_coo and real.
    """
    if gradient.layout != torch.sparse_coo or gradient.is_complex():
        raise TypeError(
            f"the gradient of {name} is {gradient.layout}, {gradient.dtype}: noise is defined for "
            "real sparse_coo."
        )
    gradient = gradient.coalesce()
    values = gradient.values()
    n_sparse = gradient.sparse_dim()
    rows = np.ravel_multi_index(
        tuple(gradient.indices().cpu().numpy()), tuple(gradient.shape[:n_sparse])
    )
    size = math.prod(gradient.shape[n_sparse:])
    return gradient, values, Part(rows.astype(np.int64) * size, size) if len(rows) else whole((0,))
