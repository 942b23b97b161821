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
    """Calls `extend` every half of a lease's duration, from a thread of its own, until the block
    ends.

    A call that fails for another reason than a lost lease is tried again at the next beat: the
        database may be away for a moment, and
    whether the lease still holds is decided by the next write.

    Args:
        extend: Extends the lease; raises LeaseLostError when there is none to extend.
        duration: Of the lease.
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
        """Raise LeaseLostError if a beat found the lease gone."""
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
                log.warning("heartbeat failed; trying again at the next one", exc_info=True)
