"""A message is sent once, to the address that was checked, and follows no redirect."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest

from gradnoise_service.usecases import webhook_post
from gradnoise_service.usecases.webhook_post import DeliveryError, post

LOOPBACK = [ip_network("127.0.0.0/8")]


@dataclass
class Receiver:
    """A server on a loopback address that records what it gets."""

    status: int = 204
    received: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append((self.path, body, dict(self.headers)))
            self.send_response(state.status)
            self.send_header("Location", state.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_message_arrives_as_it_was_sent(receiver: Receiver) -> None:
    post(f"{receiver.url}/a?b=c", b"{}", {"webhook-id": "msg_1"}, LOOPBACK)
    ((path, body, headers),) = receiver.received
    assert (path, body, headers["webhook-id"]) == ("/a?b=c", b"{}", "msg_1")


def test_url_is_sent_in_ascii(receiver: Receiver) -> None:
    post(f"{receiver.url}/\u00e9\x01?a=%41", b"{}", {}, LOOPBACK)
    assert receiver.received[0][0] == "/%C3%A9%01?a=%41"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433"])
def test_internal_address_is_not_reached(receiver: Receiver, host: str) -> None:
    """Neither by a name nor in another notation."""
    url = receiver.url.replace("127.0.0.1", host)
    with pytest.raises(DeliveryError, match="not public"):
        post(url, b"{}", {}, [])
    assert receiver.received == []


def test_connection_is_to_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose second resolution gives an internal address reaches nothing."""
    resolve = socket.getaddrinfo
    port = int(receiver.url.rpartition(":")[2])
    resolutions: list[Any] = []

    def rebound(host: str, *others: Any, **more: Any) -> Any:
        if host != "rebound.example":
            return resolve(host, *others, **more)
        address = "192.0.2.1" if resolutions else "127.0.0.1"
        resolutions.append(address)
        return resolve(address, *others, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    post(f"http://rebound.example:{port}/", b"{}", {}, LOOPBACK)
    assert resolutions == ["127.0.0.1"]
    assert receiver.received[0][2]["Host"] == f"rebound.example:{port}"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 500])
def test_redirects_and_errors_are_no_delivery(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(DeliveryError, match=str(status)):
        post(receiver.url, b"{}", {}, LOOPBACK)
    assert len(receiver.received) == 1


def test_closed_port_is_no_delivery() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DeliveryError, match="refused"):
        post(f"http://127.0.0.1:{port}/", b"{}", {}, LOOPBACK)


def test_answer_that_never_ends_is_no_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit holds for the whole delivery, however often the receiver sends a byte."""
    monkeypatch.setattr(webhook_post, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def dribble() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while True:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

        thread = threading.Thread(target=dribble)
        thread.start()
        with pytest.raises(DeliveryError, match="within 0"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, LOOPBACK)
        thread.join()
