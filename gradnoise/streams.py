"""Reproducible draws: each is a function of (seed, purpose, t, name) and of nothing else.

No draw touches a global generator, and none depends on the order of parameters, on what else was drawn, or on the trials beside it.
The generator is Philox4x64-10, which is counter-based (Salmon et al. 2011, doi:10.1145/2063384.2063405): (seed, purpose, name) give its key
and t the third word of its counter, so streams of different t are 2^128 blocks apart.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

Words = npt.NDArray[np.uint64]


def key(seed: int, purpose: str, name: str) -> Words:
    """Return the 128-bit key, as two words, of the stream that a seed has for a purpose and a name.

    Args:
        seed: The trial's seed; at least 0, of any size.
        purpose: What the draws are for (`init`, `order`, `noise`); without a slash, so that different triples never meet.
        name: What they belong to, such as a parameter's name.

    Raises:
        ValueError: If the seed is negative or the purpose has a slash.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, but got {seed=}.")
    if "/" in purpose:
        raise ValueError(f"purpose must have no slash, but got {purpose=}.")
    return np.frombuffer(hashlib.blake2b(f"{seed}/{purpose}/{name}".encode(), digest_size=16).digest(), dtype="<u8").astype(np.uint64)


def normal(seed: int, purpose: str, t: int, name: str, shape: Sequence[int]) -> torch.Tensor:
    """Return independent draws of N(0, 1), float32, of the given shape.

    >>> bool((normal(1, "init", 0, "weight", (2, 3)) == normal(1, "init", 0, "weight", (2, 3))).all())
    True
    """
    return torch.from_numpy(Normals(seed, purpose, {name: math.prod(shape)}).draw(t)).reshape(tuple(shape))


def permutation(seed: int, purpose: str, t: int, n: int) -> torch.Tensor:
    """Return a uniformly random order of the whole numbers below n, as int64.

    >>> sorted(permutation(1, "order", 0, 4).tolist())
    [0, 1, 2, 3]
    """
    counter = np.array([0, 0, t, 0], dtype=np.uint64)
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=key(seed, purpose, ""), counter=counter)).permutation(n))


class Normals:
    """Draws of N(0, 1) for a fixed set of names, all in one go; binds keys, a generator and buffers, so that only the numbers cost.

    A stream gives n numbers from ceil(n / 2) words: each word's halves make two by the method of Box and Muller (1958). The tails reach
    sqrt(2 ln 2^32) = 6.7 standard deviations, beyond which a true normal has one draw in 4e10.

    Args:
        seed: The trial's seed; at least 0.
        purpose: What the draws are for.
        sizes: How many numbers each name gets.
    """

    def __init__(self, seed: int, purpose: str, sizes: Mapping[str, int]) -> None:
        self._streams = [(key(seed, purpose, name), (size + 1) // 2) for name, size in sizes.items()]
        self._words = np.empty(sum(n for _, n in self._streams), dtype=np.uint64)
        self._scratch = np.empty((3, len(self._words)), dtype=np.float32)
        ends = np.cumsum([2 * n for _, n in self._streams])
        self._surplus = ends[[size % 2 == 1 for size in sizes.values()]] - 1
        self._philox = np.random.Philox(key=0)
        self._state = self._philox.state

    def draw(self, t: int) -> npt.NDArray[np.float32]:
        """Return the numbers of every name at step t, one after the other in the order of `sizes`, as a new flat array."""
        self._state["state"]["counter"] = np.array([0, 0, t, 0], dtype=np.uint64)
        start = 0
        for stream_key, n in self._streams:
            self._state["state"]["key"] = stream_key
            self._philox.state = self._state
            self._words[start : start + n] = self._philox.random_raw(n)
            start += n
        drawn = box_muller(self._words, self._scratch)
        return np.delete(drawn, self._surplus) if self._surplus.size else drawn


def box_muller(words: Words, scratch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return two draws of N(0, 1) for each uniformly random word: r cos(angle) and r sin(angle), with r = sqrt(-2 ln u).

    Args:
        words: n uniformly random words of 64 bits. The low half makes u in (0, 1], fine near 0, where the tails come from; the high half
            makes the angle.
        scratch: Room to compute in, [3, n].

    Returns:
        2n numbers, float32.
    """
    halves = words.astype("<u8", copy=False).view("<i4").reshape(-1, 2)
    radius, angle, wave = scratch
    np.abs(halves[:, 0], out=radius, dtype=np.float32, casting="same_kind")
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-31)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    np.multiply(halves[:, 1], np.float32(math.pi * 2.0**-31), out=angle, dtype=np.float32, casting="same_kind")
    drawn = np.empty((len(words), 2), dtype=np.float32)
    np.multiply(radius, np.cos(angle, out=wave), out=drawn[:, 0])
    np.multiply(radius, np.sin(angle, out=wave), out=drawn[:, 1])
    return drawn.reshape(-1)
