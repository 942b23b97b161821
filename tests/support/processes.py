"""Waiting for processes, and finding them, children or not."""

import os
import select
from pathlib import Path

WAIT_SECONDS = 120
"""A limit for what happens at once, far above its time on a busy machine."""


def has_ended(pid: int) -> bool:
    """Wait until a process ends, and return whether it does."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(handle)


def with_environment(setting: str) -> dict[int, str]:
    """Return the command lines of the processes whose environment has a setting, by process id.

    Args:
        setting: `NAME=VALUE`.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if setting.encode() in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (
                    (process / "cmdline")
                    .read_bytes()
                    .replace(b"\0", b" ")
                    .decode(errors="replace")
                    .strip()
                )
        except OSError:  # the process has ended
            continue
    return found
