"""The trace of a trainer: which trials it trains now, and that it goes on, for other processes.

It is a file that outlives the process.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BEAT_SECONDS = 1.0

_beating: list["Trace"] = []


class Trace:
    """Writes the trace of this process; a fault of the file system is ignored.

    Args:
        path: The file; its folder is created.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self._beat_at = 0.0

    @contextmanager
    def training(self, keys: Sequence[str]) -> Iterator[None]:
        """Show within the block that these trials train, and no other."""
        self._write(keys)
        _beating.append(self)
        try:
            yield
        finally:
            _beating.pop()
            self._write([])

    def beat(self) -> None:
        """Show that the trials go on."""
        now = time.monotonic()
        if now >= self._beat_at + BEAT_SECONDS:
            self._beat_at = now
            with contextlib.suppress(OSError):
                os.utime(self._file)

    def _write(self, keys: Sequence[str]) -> None:
        content = json.dumps(list(keys)).encode()
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, os.pwrite(self._file, content, 0))


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What a trace showed when it was read.

    Args:
        keys: The trials that trained.
        beat: Another number after each sign of life.
    """

    keys: tuple[str, ...] = ()
    beat: int = 0

    @classmethod
    def read(cls, path: Path) -> "Traced":
        """Return what a trace shows; nothing if it cannot be read."""
        try:
            return cls(keys=tuple(json.loads(path.read_bytes())), beat=path.stat().st_mtime_ns)
        except (OSError, ValueError):  # or is being written
            return cls()


def beat() -> None:
    """Show that the trials of this process go on; called between their updates."""
    if _beating:
        _beating[-1].beat()
