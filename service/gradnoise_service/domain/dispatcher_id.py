"""Ids of dispatchers: host, process id, random digits."""

import secrets
import socket


def of_process(pid: int) -> str:
    """Return how the id of a dispatcher starts that is a process of this machine."""
    return f"{socket.gethostname()}-{pid}-"


def new(pid: int) -> str:
    """Return a new id of a dispatcher that is a process of this machine."""
    return of_process(pid) + secrets.token_hex(3)
