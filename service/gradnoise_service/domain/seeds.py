"""Seeds that follow from a text."""

import hashlib


def hashed_seed(text: str) -> int:
    """Return 48 bits that follow from a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
