"""The noise kernel in numpy: the definition, and the implementation used without numba."""

import math

import numpy as np
import numpy.typing as npt

from gradnoise._kernels import GROUP, LANES, MULTIPLIERS, ROUNDS, WEYL

Floats = npt.NDArray[np.float32]

SLAB = 128 * GROUP
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def add(values: Floats, start: int, key: int, t: int, std: float) -> None:
    """Add std * z_e to the values in place, for the elements e = start, start + 1, ...

    Args:
        values: float32, one axis.
        start: The element of the stream that the first value is; at least 0.
        key: The stream's key; 64 bits.
        t: Update count; in [0, 2^64).
        std: Standard deviation, in the values' units.
    """
    for first in range(start // GROUP * GROUP, start + len(values), SLAB):
        drawn = normals(
            first // GROUP, min(SLAB, start + len(values) - first + GROUP - 1) // GROUP, key, t
        )
        lo, hi = max(start, first), min(start + len(values), first + SLAB)
        values[lo - start : hi - start] += np.float32(std) * drawn[lo - first : hi - first]


def normals(group: int, n_groups: int, key: int, t: int) -> Floats:
    """Return z of the groups' elements, [n_groups * GROUP]."""
    blocks = np.uint64(group * LANES) + np.arange(n_groups * LANES, dtype=np.uint64)
    w = words(blocks, key, t).reshape(2, 2, n_groups, LANES)
    radius = np.sqrt(
        -2 * np.log(((w[:, 0] >> 1).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-31))
    )
    angle = (w[:, 1] << 1).view(np.int32).astype(np.float32) * np.float32(math.pi / 2 * 2.0**-31)
    radius = np.where(w[:, 1] >> 31, -radius, radius)
    # [cosine and sine, pair, group, lane]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
    return pairs.transpose(2, 0, 1, 3).reshape(-1)


def words(blocks: npt.NDArray[np.uint64], key: int, t: int) -> npt.NDArray[np.uint32]:
    """Return the four words of each block under the key at update t, [4, blocks]."""
    c0, c1 = blocks & LOW, blocks >> HALF
    c2, c3 = np.full_like(blocks, t & 0xFFFFFFFF), np.full_like(blocks, t >> 32)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(ROUNDS):
        p0, p1 = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2
        c0, c1, c2, c3 = (
            (p1 >> HALF) ^ c1 ^ np.uint64(k0),
            p1 & LOW,
            (p0 >> HALF) ^ c3 ^ np.uint64(k1),
            p0 & LOW,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)
