"""Serving an app over HTTP, with bounds on connections and on the time that a request may take.

uvicorn alone waits for ever for the rest of a header or a body, and accepts connections until the
process has no file descriptors left.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gradnoise_service.api.guard import HEADERS
from gradnoise_service.api.limits import max_connections
from gradnoise_service.api.problem import problem_bytes

BACKLOG = 32
MIN_CHUNKS = 1000
MIN_CHUNK_BYTES = 64
SHUTDOWN_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of a server.

    Attributes:
        n_connections: Beyond it, the connection that has waited longest for the rest of a request
            is closed; a new one is closed if all others have a request in progress.
        header_seconds: Until the header of a request is complete, from its first byte, or from
            the opening of the connection.
        body_seconds: From the end of the header until the end of the body.
        idle_seconds: Between two requests.
        stalled_seconds: How long a client may read nothing of a response.
    """

    n_connections: int = field(default_factory=max_connections)
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: int = 75
    stalled_seconds: float = 60.0


class Server(uvicorn.Server):
    """A server of an app at an address.

    Args:
        app: The app.
        host: The address to listen on.
        port: The port to listen on.
        bounds: Bounds of connections and requests.
        on_exit: Called when a signal stops the server.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        bounds: Bounds | None = None,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        bounds = bounds or Bounds()
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=partial(BoundedProtocol, bounds),  # type: ignore[arg-type]  # makes protocols
                ws="none",
                loop="asyncio",
                backlog=BACKLOG,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=bounds.idle_seconds,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_exit()
        super().handle_exit(sig, frame)


class BoundedProtocol(H11Protocol):
    """A connection, within bounds."""

    def __init__(self, bounds: Bounds, config: uvicorn.Config, *others: Any, **more: Any) -> None:
        super().__init__(config, *others, **more)
        self.bounds = bounds
        self.conn = _Connection()
        self.waits_since: float | None = None
        self._request_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since = time.monotonic()
        self._await_request(self.bounds.header_seconds)
        if len(self.connections) > self.bounds.n_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(self._request_timer, self._write_timer)
        self.waits_since = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.conn.their_state
        if self._request_timer is None and before is not h11.SEND_BODY:
            self._await_request(self.bounds.header_seconds)
        super().data_received(data)
        self._bound_request(before)

    def handle_events(self) -> None:
        before = self.conn.their_state
        super().handle_events()
        self._bound_request(before)

    def on_response_complete(self) -> None:
        self.waits_since = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.bounds.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop(self._write_timer)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "The request is not HTTP/1.1, or its body has too many small chunks.")

    def _bound_request(self, before: object) -> None:
        """Stop the timer of a request that has arrived; start that of a body."""
        state = self.conn.their_state
        if state is h11.SEND_BODY and before is not h11.SEND_BODY:
            self._await_request(self.bounds.body_seconds)
        elif state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._stop(self._request_timer)
            self._request_timer = None
            if self.cycle is not None and not self.cycle.response_complete:
                self.waits_since = None

    def _await_request(self, seconds: float) -> None:
        self._stop(self._request_timer)
        self._request_timer = self.loop.call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        self._refuse(408, "The request did not arrive in time.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer with a problem, unless a response has been sent already, and close."""
        if self.transport.is_closing():
            return
        has_begun = self.cycle is not None and self.cycle.response_started
        is_new = self.cycle is None or self.cycle.response_complete
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and (is_new or not has_begun):
            problem = problem_bytes(HTTPException(status, detail))
            headers = {
                **HEADERS,
                "Content-Type": "application/problem+json",
                "Content-Length": str(len(problem)),
                "Connection": "close",
            }
            for event in (
                h11.Response(status_code=status, headers=list(headers.items())),
                h11.Data(data=problem),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _make_room(self) -> None:
        waiting = [
            other
            for other in self.connections
            if isinstance(other, BoundedProtocol)
            and other.waits_since is not None
            and not other.transport.is_closing()
        ]
        oldest = min(waiting, key=lambda other: other.waits_since or 0.0)
        oldest.transport.abort()

    @staticmethod
    def _stop(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()


class _Connection(h11.Connection):
    """A connection that refuses bodies of very small chunks, each of which costs as much time."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER)
        self._n_chunks = 0
        self._n_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._n_chunks = self._n_bytes = 0
        elif isinstance(event, h11.Data):
            self._n_chunks += 1
            self._n_bytes += len(event.data)
            if self._n_chunks > MIN_CHUNKS and self._n_bytes < MIN_CHUNK_BYTES * self._n_chunks:
                raise h11.RemoteProtocolError("The chunks of the body are too small.")
        return event
