"""Queries about processes that are not children of the test."""

import os
import select
from pathlib import Path

WAIT_SECONDS = 40


def has_ended(pid: int) -> bool:
    """Wait for the end of a process; return whether it ended in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(handle)


def with_environment(setting: str) -> dict[int, str]:
    """Return id and command line of each process with a setting in its environment."""
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
