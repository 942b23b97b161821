"""How much one client may ask for: requests in a minute, and bytes in a body."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_CLIENTS = 10_000


class Limiter:
    """A token bucket for each client: full at first, refilled steadily, the longest unused
    forgotten beyond MAX_CLIENTS.

    Args:
        per_minute: Requests that a client may send in a minute, and at once after a minute of
            silence.
        seconds: A clock that never goes back, in seconds.
    """

    def __init__(self, per_minute: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._seconds = seconds
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Count one request of the client.

        Raises:
            HTTPException: 429 with Retry-After, in seconds, when its bucket is empty.
        """
        with self._lock:
            now = self._seconds()
            left, since = self._buckets.pop(client, (float(self._per_minute), now))
            left = min(self._per_minute, left + (now - since) * self._per_minute / 60)
            self._buckets[client] = (max(left - 1, 0) if left >= 1 else left, now)
            if len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
        if left < 1:
            wait = math.ceil((1 - left) * 60 / self._per_minute)
            raise HTTPException(
                429,
                f"More than {self._per_minute} requests in a minute.",
                headers={"Retry-After": str(wait)},
            )


class BodyLimit:
    """Middleware that refuses a body above `max_bytes`, whether its length is announced or it comes
    in pieces.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        n_received = 0

        async def counted() -> Message:
            nonlocal n_received
            message = await receive()
            n_received += len(message.get("body", b""))
            if n_received > self.max_bytes:
                raise too_large(self.max_bytes)
            return message

        await self.app(scope, counted, send)


def too_large(max_bytes: int) -> HTTPException:
    return HTTPException(
        413, f"The body is larger than {max_bytes} bytes, the most that this service reads."
    )
