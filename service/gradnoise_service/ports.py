"""Which TCP ports are free, and who holds one that is not."""

import contextlib
import errno
import socket
from pathlib import Path


class PortTakenError(Exception):
    """Nothing can listen on a port; `holder` describes the process that does, as far as it can be
    known.
    """

    def __init__(self, host: str, port: int, holder: str | None, reason: str) -> None:
        self.host = host
        self.port = port
        self.holder = holder
        super().__init__(
            f"Cannot listen on {host}:{port}: {f'it is in use by {holder}' if holder else reason}."
        )


def check(host: str, port: int) -> None:
    """Raise PortTakenError if nothing could listen on a port now."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # as the servers do: a port in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        holder = _holder(port) if error.errno == errno.EADDRINUSE else None
        raise PortTakenError(host, port, holder, (error.strerror or str(error)).lower()) from None


def free(host: str, wanted: int = 0, *, besides: frozenset[int] = frozenset()) -> int:
    """Return the wanted port if it is free, else one that the system picks; never one of `besides`."""
    if wanted and wanted not in besides:
        with contextlib.suppress(PortTakenError):
            check(host, wanted)
            return wanted
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(address)
        port: int = probe.getsockname()[1]
    return port if port not in besides else free(host, besides=besides)


def _holder(port: int) -> str | None:
    """Describe the process that listens on a port, from Linux's /proc; None where that cannot be
    read.
    """
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        fields = [row.split() for row in rows]
        # 0A: listening
        inodes |= {
            f"socket:[{row[9]}]"
            for row in fields
            if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port
        }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in inodes for handle in (process / "fd").iterdir()):
                command = (
                    (process / "cmdline")
                    .read_bytes()
                    .replace(b"\0", b" ")
                    .decode(errors="replace")
                    .strip()
                )
                return f"process {process.name} ({command[:80]})"
        except OSError:  # it has ended, or belongs to another user
            continue
    return None
