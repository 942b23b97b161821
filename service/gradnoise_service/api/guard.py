"""Guard: middleware against DNS rebinding and cross-site requests; sets security headers."""

import ipaddress
import re
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = structlog.get_logger()

LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
DOCUMENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of reports and figures, which hold their styles and run no script."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


class Guard:
    """Refuses unknown Host names (421) and unsafe requests from other sites (403).

    An IP address as Host cannot be rebound, so any is accepted. A name must be a loopback name or
    one of `allowed_hosts`. The guard also sets the security headers, answers HEAD requests as GET
    requests, and responds to errors that the app does not handle.

    Args:
        app: The guarded app.
        allowed_hosts: Accepted Host names.
        respond: Returns the response to a refused request.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str],
        respond: Callable[[Request, Exception], Response],
    ) -> None:
        self.app = app
        self.respond = respond
        self.allowed_hosts = {*LOOPBACK_NAMES, *(host.lower() for host in allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}
        has_started = has_ended = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_started, has_ended
            if has_ended:
                return
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            elif is_head and message["type"] == "http.response.body":
                # ends the response, and with it an event stream
                message, has_ended = {"type": "http.response.body"}, True
            await send(message)

        try:
            refusal = self._refusal(scope["method"], Headers(scope=scope))
            if refusal is not None:
                raise refusal
            await self.app(scope, receive, send_guarded)
        except Exception as error:
            if not isinstance(error, HTTPException):
                logger.exception("request_failed", path=scope["path"])
            if has_started:  # the server breaks the connection off, so that the client notices
                raise
            await self.respond(Request(scope), error)(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> HTTPException | None:
        host = headers.get("host", "")
        if not self._is_known(host):
            return HTTPException(421, f"The Host name {host!r} is unknown.")
        if method not in SAFE_METHODS and is_from_another_site(headers):
            return HTTPException(403, "The request was sent by a page of another site.")
        return None

    def _is_known(self, host: str) -> bool:
        name = re.sub(r":\d+$", "", host).strip("[]").lower()
        return name in self.allowed_hosts or _is_address(name)


def is_from_another_site(headers: Headers) -> bool:
    """True if a browser sent the request for a page of another site.

    Programs send neither Sec-Fetch-Site nor Origin.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
