"""What tests ask about processes that are not their own children."""

import os
import select
from pathlib import Path

WAIT_SECONDS = 40


def has_ended(pid: int) -> bool:
    """Wait for the end of a process, our child or not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(handle)


def with_environment(setting: str) -> dict[int, str]:
    """Return the processes that were started with a setting in their environment, and their command
    lines.
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
        except OSError:  # it has ended in between
            continue
    return found
