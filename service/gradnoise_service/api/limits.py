"""Limits on the requests of a client: their rate, and the size of their bodies."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_CLIENTS = 10_000


class Limiter:
    """A token bucket for each client, full at first and refilled at a constant rate.

    Beyond `MAX_CLIENTS` clients the least recently used bucket is dropped.

    Args:
        per_minute: The rate, and the capacity of a bucket.
        seconds: A monotonic clock.
    """

    def __init__(self, per_minute: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._seconds = seconds
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Count a request of a client.

        Raises:
            HTTPException: 429 with Retry-After, in seconds, if the client's bucket is empty.
        """
        with self._lock:
            now = self._seconds()
            left, updated_at = self._buckets.pop(client, (float(self._per_minute), now))
            left = min(self._per_minute, left + (now - updated_at) * self._per_minute / 60)
            self._buckets[client] = (max(left - 1, 0) if left >= 1 else left, now)
            if len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
        if left < 1:
            wait_seconds = math.ceil((1 - left) * 60 / self._per_minute)
            raise HTTPException(
                429,
                f"More than {self._per_minute} requests per minute.",
                headers={"Retry-After": str(wait_seconds)},
            )


def address_key(request: Request) -> str:
    """Return the limiter's key of a request without a valid token: the client's address."""
    return f"address {request.client.host if request.client else 'unknown'}"


class BodyLimit:
    """Middleware that refuses a body above `max_bytes`, with or without a Content-Length."""

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
    """Return the 413 error of a body above `max_bytes`."""
    return HTTPException(413, f"The body exceeds the limit of {max_bytes} bytes.")
