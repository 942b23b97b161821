"""Transport repeats requests where that is safe, and names what it cannot reach."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from gradnoise_service.client import ApiError, Client, UnreachableError
from gradnoise_service.client.transport import BACKOFF_SECONDS, N_REPEATS, Transport
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local import ports

RATE_LIMITED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """Serve connections with a handler in a thread; yield the address."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scripted(*heads: bytes) -> tuple[type[socketserver.BaseRequestHandler], list[str]]:
    """Return a handler that answers each request with the next head, and the methods it received.

    The last head answers all further requests.
    """
    methods: list[str] = []

    class Scripted(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            methods.append(self.rfile.readline().decode().split()[0])
            head = heads[min(len(methods), len(heads)) - 1]
            self.wfile.write(head + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")

    return Scripted, methods


@contextmanager
def transport_to(
    handler: type[socketserver.BaseRequestHandler], sleeps: list[float]
) -> Iterator[Transport]:
    """Open a transport to a handler; its sleeps are recorded and take no time."""
    with serving(handler) as url:
        transport = Transport(url, sleep=sleeps.append)
        yield transport
        transport.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_rate_limited_request_is_repeated_after_the_requested_wait(method: str) -> None:
    """Any method may be repeated, because a 429 was not processed."""
    sleeps: list[float] = []
    handler, methods = scripted(RATE_LIMITED, RATE_LIMITED, OK)
    with transport_to(handler, sleeps) as transport:
        assert transport.request(method, "/v1/presets").json() == {}
    assert methods == [method] * 3
    assert sleeps == [7.0, 7.0]


def test_rate_limit_that_persists_is_an_error() -> None:
    sleeps: list[float] = []
    handler, methods = scripted(RATE_LIMITED)
    with transport_to(handler, sleeps) as transport, pytest.raises(ApiError) as caught:
        transport.request("GET", "/v1/presets")
    assert caught.value.status == 429
    assert len(methods) == N_REPEATS + 1
    assert sleeps == [7.0] * N_REPEATS


def test_unavailable_service_is_retried_with_growing_pauses() -> None:
    sleeps: list[float] = []
    handler, methods = scripted(UNAVAILABLE, UNAVAILABLE, OK)
    with transport_to(handler, sleeps) as transport:
        transport.request("GET", "/v1/presets")
    assert len(methods) == 3
    assert sleeps == list(BACKOFF_SECONDS[:2])


def test_post_is_repeated_if_the_caller_permits() -> None:
    handler, methods = scripted(UNAVAILABLE, OK)
    with transport_to(handler, []) as transport:
        transport.request("POST", "/v1/studies", may_repeat=True)
    assert methods == ["POST", "POST"]


def test_post_is_not_repeated_otherwise() -> None:
    handler, methods = scripted(UNAVAILABLE, OK)
    with transport_to(handler, []) as transport, pytest.raises(ApiError) as caught:
        transport.request("POST", "/v1/studies")
    assert caught.value.status == 503
    assert methods == ["POST"]


def test_unreachable_service_is_named_with_the_cause() -> None:
    url = f"http://127.0.0.1:{ports.free('127.0.0.1')}"
    transport = Transport(url, sleep=pytest.fail)
    with pytest.raises(UnreachableError, match=f"{url}: connection refused"):
        transport.request("GET", "/v1/studies")
    transport.close()


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host", "http://", "http://[::1"])
def test_invalid_address_is_refused_before_any_request(url: str) -> None:
    with pytest.raises(UnreachableError, match=r"looks like http|[Ii]nvalid"):
        Transport(url)


def test_answer_without_problem_json_is_shown_as_text() -> None:
    class Teapot(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(
                b"HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nConnection: close\r\n\r\nshort"
            )

    with (
        transport_to(Teapot, []) as transport,
        pytest.raises(ApiError, match="HTTP 418 Teapot: short"),
    ):
        transport.request("GET", "/v1/studies")


def test_submission_whose_answer_is_lost_is_repeated_without_a_duplicate(
    api: Any, make_spec: Callable[..., StudySpec]
) -> None:
    """The connection breaks twice after the service has stored the study."""
    n_lost = iter(range(2))

    class LosesAnswers(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, path, _ = self.rfile.readline().decode().split()
            lines = iter(self.rfile.readline, b"\r\n")
            pairs = (line.decode().strip().split(": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in pairs}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            forwarded = {
                name: headers[name]
                for name in ("idempotency-key", "content-type")
                if name in headers
            }
            answer = httpx2.request(method, api.url + path, headers=forwarded, content=body)
            if next(n_lost, None) is None:
                head = (
                    f"HTTP/1.1 {answer.status_code} X\r\n"
                    f"Content-Length: {len(answer.content)}\r\nConnection: close\r\n\r\n"
                )
                self.wfile.write(head.encode() + answer.content)

    with serving(LosesAnswers) as url, Client(url) as client:
        submitted = client.submit(make_spec())
    with Client(api.url) as direct:
        assert list(direct.studies()) == [submitted.model_copy(update={"plan": None})]
