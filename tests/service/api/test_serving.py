"""Connections and requests that never end are bounded, and others are unaffected."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from gradnoise_service.api.limits import MAX_CONNECTIONS, RESERVED_FILES, max_connections
from gradnoise_service.api.serving import Bounds
from live_api import LiveApi

QUICK = Bounds(
    n_connections=20, header_seconds=0.3, body_seconds=0.3, idle_seconds=1, stalled_seconds=0.3
)
SLOW = Bounds(n_connections=20, header_seconds=30, body_seconds=30)
HEAD = b"POST /v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
WAIT_SECONDS = 30


@pytest.fixture
def serve_within(serve: Callable[..., LiveApi]) -> Callable[..., LiveApi]:
    return lambda bounds, **settings: serve(bounds=bounds, **settings)


@pytest.fixture
def connect() -> Iterator[Callable[[LiveApi], socket.socket]]:
    with contextlib.ExitStack() as stack:

        def open_connection(api: LiveApi) -> socket.socket:
            address = ("127.0.0.1", api.settings.port)
            return stack.enter_context(socket.create_connection(address, timeout=WAIT_SECONDS))

        yield open_connection


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return status and problem of a response after which the connection is closed."""
    received = b""
    while part := connection.recv(65536):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in head.lower()
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        HEAD + b"Content-Length: 10\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
    ids=["nothing", "half a header", "half a body", "half a chunked body"],
)
def test_request_that_does_not_arrive_is_ended(
    serve_within: Any, connect: Any, sent: bytes
) -> None:
    connection = connect(serve_within(QUICK))
    connection.sendall(sent)
    status, problem = answer(connection)
    assert (status, problem["type"]) == (408, "/docs#timeout")


@pytest.mark.slow
def test_header_that_arrives_byte_by_byte_is_ended(serve_within: Any, connect: Any) -> None:
    """Progress does not extend the time."""
    connection = connect(serve_within(QUICK))
    started_at = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 2000:
            connection.sendall(bytes([byte]))
            time.sleep(0.01)
    assert time.monotonic() - started_at < 10


@pytest.mark.slow
def test_idle_connection_is_closed_after_its_response(serve_within: Any, connect: Any) -> None:
    connection = connect(serve_within(QUICK))
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    received = b""
    while part := connection.recv(4096):
        received += part
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b'{"status":"alive"}')


def test_body_is_refused_by_its_declared_length(serve_within: Any, connect: Any) -> None:
    connection = connect(serve_within(SLOW))
    connection.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
    status, problem = answer(connection)
    assert (status, problem["type"]) == (413, "/docs#too-large")


def test_body_of_tiny_chunks_is_refused(serve_within: Any, connect: Any) -> None:
    """Each chunk costs the event loop as much time as a large one."""
    connection = connect(serve_within(SLOW))
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1001)
    status, problem = answer(connection)
    assert (status, problem["type"]) == (400, "/docs#bad-request")


def test_more_waiting_connections_than_allowed_exclude_nobody(
    serve_within: Any, connect: Any
) -> None:
    """The oldest are closed; a client that comes later, and an open event stream, are served."""
    api = serve_within(SLOW)
    first = connect(api)
    first.sendall(b"GET / HT")
    waiting = [connect(api) for _ in range(60)]
    for connection in waiting[::2]:
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n{")
    assert httpx2.get(f"{api.url}/healthz", timeout=WAIT_SECONDS).status_code == 200
    with contextlib.suppress(ConnectionResetError):
        assert first.recv(100) == b""


@pytest.mark.slow
def test_client_that_reads_nothing_is_ended(
    serve_within: Any, connect: Any, live_database: Any
) -> None:
    api = serve_within(QUICK)
    connection = connect(api)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    connection.sendall(request * 400)
    assert api.server is not None
    deadline = time.monotonic() + WAIT_SECONDS
    while api.server.server_state.connections and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not api.server.server_state.connections


def test_malformed_request_is_a_problem(serve_within: Any, connect: Any) -> None:
    connection = connect(serve_within(SLOW))
    connection.sendall(b"\x16\x03\x01\x02\x00 nonsense\r\n\r\n")
    assert answer(connection)[0] == 400


@pytest.mark.parametrize("path", ["/v1/studies/1/events", "/missing"])
def test_head_is_answered_and_the_connection_stays_usable(
    serve_within: Any, connect: Any, worker: Any, make_spec: Any, path: str
) -> None:
    """An event stream has no end, so its answer to HEAD ends after the header."""
    from gradnoise_service.client import Client

    api = serve_within(SLOW)
    with Client(api.url) as client:
        client.submit(make_spec())
    with httpx2.Client(timeout=WAIT_SECONDS) as http:
        answer = http.head(api.url + path)
        assert (answer.status_code, answer.content) == (404 if path == "/missing" else 200, b"")
        assert http.get(f"{api.url}/healthz").json() == {"status": "alive"}


def test_connections_fit_into_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {200: 200 - RESERVED_FILES, 64: 16, 10**6: MAX_CONNECTIONS}
    for soft, expected in limits.items():
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=soft: (soft, soft))
        assert max_connections() == expected
