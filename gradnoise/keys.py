"""Keys of random streams: hashes, so that streams of different seeds, purposes or names have
nothing to do with each other.
"""

import hashlib

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]


def key(seed: int, purpose: str, name: str) -> Words:
    """Return the 128-bit key, as two words, of the stream that a seed has for a purpose and a name.

    Args:
        seed: The trial's seed; at least 0, of any size.
        purpose: What the draws are for (`init`, `order`, `noise`); without a slash, so that
            different triples never meet.
        name: What they belong to, such as a parameter's name.

    Raises:
        ValueError: If the seed is negative or the purpose has a slash.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, but got {seed=}.")
    if "/" in purpose:
        raise ValueError(f"purpose must have no slash, but got {purpose=}.")
    return np.frombuffer(
        hashlib.blake2b(f"{seed}/{purpose}/{name}".encode(), digest_size=16).digest(), dtype="<u8"
    ).astype(np.uint64)
