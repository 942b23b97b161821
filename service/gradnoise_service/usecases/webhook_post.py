"""Sending a message to a URL whose address may be reached.

The name is resolved once, and the connection is opened to an address that was checked, so that a
name that changes its address in between reaches nothing else. Redirects are not followed.
"""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, urlsplit

from gradnoise_service.domain.webhook import is_permitted
from gradnoise_service.settings import Network

SECONDS = 10
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
"""The characters that a request line admits; others are sent as `%` and two digits a byte."""


class DeliveryError(Exception):
    """A message was not accepted; the text gives the reason."""


def post(url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[Network]) -> None:
    """Send a message.

    Args:
        url: An http or https URL.
        body: The body of the message.
        headers: Its headers.
        networks: Networks that may be reached although they are not public.

    Raises:
        DeliveryError: If the host has no permitted address, does not accept the connection within
            `SECONDS` or answer within `SECONDS` after that, or answers with a status outside 200
            to 299.
    """
    parts = urlsplit(url)
    try:
        connection = _Connection(parts.hostname or "", parts.port, parts.scheme, networks)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            target = quote(target, safe=PRINTABLE)
            connection.connect()
            with _limited(connection.sock):
                if isinstance(connection.sock, ssl.SSLSocket):
                    connection.sock.do_handshake()
                connection.request("POST", target, body, dict(headers))
                status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError) as error:
        raise DeliveryError(str(error) or type(error).__name__) from None
    if not 200 <= status < 300:
        raise DeliveryError(f"The answer is {status}.")


@contextmanager
def _limited(connected: socket.socket) -> Iterator[None]:
    """Shut a socket down after `SECONDS`; its own timeout starts anew with each byte."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        with suppress(OSError):  # the receiver has closed it
            # not SSLSocket.shutdown, after which another thread would write without TLS
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(SECONDS, expire)
    timer.start()
    try:
        yield
    except (OSError, HTTPException):
        if expired.is_set():
            raise TimeoutError(f"There was no answer within {SECONDS} s.") from None
        raise
    finally:
        timer.cancel()
        timer.join()


class _Connection(HTTPConnection):
    """A connection to the first permitted address of a host."""

    def __init__(
        self, host: str, port: int | None, scheme: str, networks: Sequence[Network]
    ) -> None:
        self.is_secure = scheme == "https"
        super().__init__(host, port or (443 if self.is_secure else 80), timeout=SECONDS)
        self.networks = networks

    def connect(self) -> None:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        permitted = [address for address in addresses if is_permitted(address, self.networks)]
        if not permitted:
            raise ConnectionRefusedError(f"The addresses of {self.host} are not public.")
        self.sock = socket.create_connection((permitted[0], self.port), timeout=SECONDS)
        if self.is_secure:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
