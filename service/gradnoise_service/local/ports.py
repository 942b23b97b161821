"""TCP ports: whether a port is free, and which process uses it if not."""

import contextlib
import errno
import socket

import psutil  # type: ignore[import-untyped]  # it has no annotations

from gradnoise_service.local.errors import PortTakenError

MAX_COMMAND_CHARACTERS = 80


def check(host: str, port: int) -> None:
    """Raise PortTakenError if a port cannot be listened on."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # the servers set this too, so a port in TIME_WAIT counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        holder = _holder(port) if error.errno == errno.EADDRINUSE else None
        raise PortTakenError(host, port, holder, (error.strerror or str(error)).lower()) from None


def free(host: str, preferred: int = 0, *, exclude: frozenset[int] = frozenset()) -> int:
    """Return the preferred port if it is free, else a port that the system chooses.

    Args:
        host: The address to listen on.
        preferred: The port to try first; 0 for no preference.
        exclude: Ports that are never returned.
    """
    if preferred and preferred not in exclude:
        with contextlib.suppress(PortTakenError):
            check(host, preferred)
            return preferred
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(address)
        port: int = probe.getsockname()[1]
    return port if port not in exclude else free(host, exclude=exclude)


def _holder(port: int) -> str | None:
    """Describe the process that listens on a port; None if it cannot be determined."""
    try:
        pids = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        ]
        pid = next((pid for pid in pids if pid is not None), None)
        if pid is None:
            return None
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:  # the process ended, or belongs to another user
        return None
    return f"process {pid} ({command[:MAX_COMMAND_CHARACTERS]})"
