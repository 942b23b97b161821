"""Runs: which elements of which streams lie where in a list of tensors."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradnoise._parts import Part

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of all tensors, one after the other: columns with one entry per run.

    Args:
        owners: The index of the run's tensor.
        offsets: Numbers before the run in its tensor.
        starts: The element of the stream that the run starts with.
        sizes: Numbers in the run.
        keys: The key of the stream.
    """

    owners: Integers
    offsets: Integers
    starts: Integers
    sizes: Integers
    keys: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, parts: Sequence[Part], keys: Sequence[int]) -> "Runs":
        """Return the runs of tensors that hold these parts of streams with these keys."""
        n_runs = [len(part.starts) for part in parts]
        sizes = np.array([part.size for part in parts], dtype=np.int64)
        return cls(
            owners=np.repeat(np.arange(len(parts)), n_runs),
            offsets=np.concatenate(
                [np.arange(n) * size for n, size in zip(n_runs, sizes, strict=True)]
            ),
            starts=np.concatenate([part.starts for part in parts]),
            sizes=np.repeat(sizes, n_runs),
            keys=np.repeat(np.array(keys, dtype=np.uint64), n_runs),
        )

    @functools.cached_property
    def n_numbers(self) -> int:
        """Numbers in all runs together."""
        return int(self.sizes.sum())
