"""Reproducible draws: each is a function of only (seed, purpose, t, name).

No draw reads or changes a global generator. No draw depends on the order of parameters, on other
draws, or on the trials that run at the same time. (seed, purpose, name) give the key of a
counter-based generator (Salmon et al. 2011, doi:10.1145/2063384.2063405), t and the element's index
its counter: Philox4x32-10 in `_kernels` for normal numbers, numpy's Philox4x64-10 for permutations.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch

from gradnoise._keys import key
from gradnoise._noise import Noise


def normal(seed: int, purpose: str, t: int, name: str, shape: Sequence[int]) -> torch.Tensor:
    """Return independent draws of N(0, 1), float32, of the given shape.

    Args:
        seed: At least 0, of any size.
        purpose: The use of the draws, such as `init`; without a slash.
        t: Index of the draws within the stream, such as the update count; in [0, 2^63).
        name: The object that the draws are for, such as a parameter's name.
        shape: Elements are counted row by row: with a longer first axis, the first rows stay the
            same.

    Raises:
        ValueError: If the seed is negative, t is out of range or the purpose contains a slash.

    >>> first, second = (normal(1, "init", 0, "weight", (2, 3)) for _ in range(2))
    >>> bool((first == second).all())
    True
    """
    drawn = torch.zeros(tuple(shape), dtype=torch.float32, device="cpu")
    _noise_on(name, tuple(shape), purpose).reseeded(seed).add_([drawn], t, 1.0)
    return drawn


@functools.lru_cache(maxsize=1_024)
def _noise_on(name: str, shape: tuple[int, ...], purpose: str) -> Noise:
    return Noise(0, {name: shape}, purpose)


def permutation(seed: int, purpose: str, t: int, n: int) -> torch.Tensor:
    """Return a uniformly random permutation of 0, 1, ..., n - 1, as int64.

    Args:
        seed: At least 0, of any size.
        purpose: The use of the permutation, such as `order`; without a slash.
        t: Index of the permutation within the stream, such as the epoch.
        n: At least 0.

    Raises:
        ValueError: If the seed is negative or the purpose contains a slash.

    >>> sorted(permutation(1, "order", 0, 4).tolist())
    [0, 1, 2, 3]
    """
    counter = np.array([0, 0, t, 0], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key(seed, purpose, ""), counter=counter))
    return torch.from_numpy(generator.permutation(n))
