"""Limits on the requests of a client: their rate, the size of their bodies, open streams."""

import math
import resource
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_CLIENTS = 10_000
MAX_CONNECTIONS = 1000
RESERVED_FILES = 128
"""File descriptors for all but connections: database, log files, connections to be refused."""


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


class Streams:
    """Counts the open event streams, over all and of each owner.

    Args:
        per_owner: Maximum of an owner.
        total: Maximum over all owners.
    """

    def __init__(self, per_owner: int, total: int) -> None:
        self._per_owner = per_owner
        self._total = total
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, owner: str) -> Iterator[None]:
        """Count a stream in a block; call it from the event loop only.

        Raises:
            HTTPException: 429 if there are too many streams.
        """
        if self._open[owner] >= self._per_owner or self._open.total() >= self._total:
            n = min(self._per_owner, self._total)
            headers = {"Retry-After": "10"}
            raise HTTPException(429, f"More than {n} event streams are open.", headers=headers)
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


def max_connections() -> int:
    """Return how many connections the process may hold, by its limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, soft - RESERVED_FILES))


def address_key(request: Request) -> str:
    """Return the limiter's key of a request without a valid token: the client's address."""
    return f"address {request.client.host if request.client else 'unknown'}"


class BodyLimit:
    """Middleware that reads the whole body before the app starts; refuses one above `max_bytes`.

    A body with a larger Content-Length is refused before it is read.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self.max_bytes:
            raise too_large(self.max_bytes)
        body = bytearray()
        is_read = False
        while not is_read:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                raise too_large(self.max_bytes)
            is_read = not message.get("more_body", False)
        unread: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, replay, send)


def too_large(max_bytes: int) -> HTTPException:
    """Return the 413 error of a body above `max_bytes`."""
    # the rest of the body is not read, so the connection cannot be used again
    return HTTPException(
        413,
        f"The body exceeds the limit of {max_bytes} bytes.",
        headers={"Connection": "close"},
    )
