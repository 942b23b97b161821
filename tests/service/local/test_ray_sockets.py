"""The paths of Ray's sockets are checked before Ray starts."""

import pytest

from gradnoise_service.local import ray_sockets
from gradnoise_service.local.errors import SocketPathError


def test_folder_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """RAY_TMPDIR precedes TMPDIR; 39 bytes are the longest folder."""
    monkeypatch.setenv("TMPDIR", "/" + "x" * 99)
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * 38)
    ray_sockets.check()
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * 39)
    with pytest.raises(SocketPathError, match="paths of 108 bytes, but the system permits 107"):
        ray_sockets.check()
    monkeypatch.delenv("RAY_TMPDIR")
    with pytest.raises(SocketPathError, match="x" * 99):
        ray_sockets.check()
