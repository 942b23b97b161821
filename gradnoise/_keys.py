"""Keys of random streams.

Keys are hashes, so streams of different seeds, purposes or names are independent.
"""

import hashlib

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]


def key(seed: int, purpose: str, name: str) -> Words:
    """Return the 128-bit key of the stream of (seed, purpose, name), as two words.

    Args:
        seed: At least 0, of any size.
        purpose: The use of the draws, such as `init`, `order` or `noise`; without a slash, so that
            different triples have different keys.
        name: The object that the draws are for, such as a parameter's name.

    Raises:
        ValueError: If the seed is negative or the purpose contains a slash.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, but got {seed=}.")
    if "/" in purpose:
        raise ValueError(f"purpose must not contain a slash, but got {purpose=}.")
    return np.frombuffer(
        hashlib.blake2b(f"{seed}/{purpose}/{name}".encode(), digest_size=16).digest(), dtype="<u8"
    ).astype(np.uint64)
