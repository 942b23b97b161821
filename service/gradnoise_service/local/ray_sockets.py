"""Ray's sockets: whether their paths are short enough for the system."""

import os
import tempfile

from gradnoise_service.local.errors import SocketPathError

MAX_BYTES = 107
EXAMPLE = "/ray/session_2026-01-02_03-04-05_678901_4194304/sockets/plasma_store"
"""The longest path of a socket below Ray's temporary folder, with the largest process id."""


def check() -> None:
    """Raise SocketPathError if Ray, started by this user, could not create its sockets."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    n_bytes = len(os.fsencode(folder + EXAMPLE))
    if n_bytes > MAX_BYTES:
        raise SocketPathError(folder, n_bytes, MAX_BYTES)
