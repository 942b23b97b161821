"""Reproducible draws: each is a function of (seed, purpose, t, name) and of nothing else.

No draw touches a global generator, and none depends on the order of parameters, on what else was
drawn, or on the trials beside it. (seed, purpose, name) give the key of a counter-based generator
(Salmon et al. 2011, doi:10.1145/2063384.2063405), t and the element its counter: normal numbers
come from the kernels' Philox4x32-10, orders from numpy's Philox4x64-10.
"""

from collections.abc import Sequence

import numpy as np
import torch

from gradnoise.keys import key
from gradnoise.noise import Noise


def normal(seed: int, purpose: str, t: int, name: str, shape: Sequence[int]) -> torch.Tensor:
    """Return independent draws of N(0, 1), float32, of the given shape.

    Args:
        seed: At least 0, of any size.
        purpose: What the draws are for, such as `init`; without a slash.
        t: Which draws of the stream, such as the update count; in [0, 2^63).
        name: What they belong to, such as a parameter's name.
        shape: Elements are counted along its rows; a longer first axis begins with the draws of a
            shorter one.

    Raises:
        ValueError: If the seed is negative or the purpose has a slash.

    >>> bool((normal(1, "init", 0, "weight", (2, 3)) == normal(1, "init", 0, "weight", (2, 3))).all())
    True
    """
    drawn = torch.zeros(tuple(shape), dtype=torch.float32, device="cpu")
    Noise(seed, {name: shape}, purpose).add_([drawn], t, 1.0)
    return drawn


def permutation(seed: int, purpose: str, t: int, n: int) -> torch.Tensor:
    """Return a uniformly random order of the whole numbers below n, as int64.

    Args:
        seed, purpose, t: As those of `normal`.
        n: At least 0.

    Raises:
        ValueError: If the seed is negative or the purpose has a slash.

    >>> sorted(permutation(1, "order", 0, 4).tolist())
    [0, 1, 2, 3]
    """
    counter = np.array([0, 0, t, 0], dtype=np.uint64)
    return torch.from_numpy(
        np.random.Generator(
            np.random.Philox(key=key(seed, purpose, ""), counter=counter)
        ).permutation(n)
    )
