"""Ports: free ports are found, and the process that uses a port is named."""

import os
import socket
from collections.abc import Iterator

import pytest

from gradnoise_service.local import ports
from gradnoise_service.local.errors import PortTakenError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_taken_port_is_named_with_its_process(taken: int) -> None:
    message = rf"127\.0\.0\.1:{taken}: it is in use by process {os.getpid()} \("
    with pytest.raises(PortTakenError, match=message):
        ports.check("127.0.0.1", taken)


def test_free_port_passes() -> None:
    port = ports.free("127.0.0.1")
    ports.check("127.0.0.1", port)
    assert ports.free("127.0.0.1", port) == port


@pytest.mark.parametrize("is_preferred", [True, False])
def test_taken_or_excluded_port_is_not_returned(taken: int, is_preferred: bool) -> None:
    found = ports.free("127.0.0.1", taken if is_preferred else 0)
    assert found not in (0, taken)
    assert ports.free("127.0.0.1", found, exclude=frozenset({found})) != found


def test_unknown_host_is_named() -> None:
    with pytest.raises(PortTakenError, match=r"no-such-host\.invalid"):
        ports.check("no-such-host.invalid", 8000)
