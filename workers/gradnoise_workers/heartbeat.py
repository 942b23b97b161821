"""Extends a lease while its holder works."""

import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from gradnoise_service.domain.errors import LeaseLostError

log = structlog.get_logger()


class Heartbeat:
    """Calls `extend` every half lease from its own thread, within a `with` block.

    A call that fails for another reason than a lost lease is retried at the next beat: the database
    may be unreachable for a moment, and the next write decides whether the lease is still valid.

    Args:
        extend: Extends the lease; raises LeaseLostError if it is lost.
        duration: Duration of the lease.
    """

    def __init__(self, extend: Callable[[], None], duration: timedelta) -> None:
        self._extend = extend
        self._period = duration.total_seconds() / 2
        self._stopped = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLostError if a beat found the lease lost."""
        if self._lost.is_set():
            raise LeaseLostError()

    def _beat(self) -> None:
        while not self._stopped.wait(self._period):
            try:
                self._extend()
            except LeaseLostError:
                self._lost.set()
                return
            except Exception:
                log.warning("heartbeat failed; retrying at the next beat", exc_info=True)
