"""Middleware that lets in only requests addressed to us and sent by our own pages or by programs,
and that hardens what goes out.
"""

import ipaddress
import re
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
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
    """Refuses foreign Host names (421) and changes that another site sends through a visitor's
    browser (403); sets the security headers; answers HEAD wherever there is GET.

    A Host that is an address cannot be rebound; a name can, so names must be known: loopback's, or
    those of `allowed_hosts`.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str],
        answer: Callable[[Request, Exception], Response],
    ) -> None:
        self.app = app
        self.answer = answer
        self.allowed_hosts = {*LOOPBACK_NAMES, *(host.lower() for host in allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["method"] == "HEAD":
            # the server itself knows better, and leaves the body out
            scope = {**scope, "method": "GET"}
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = self.app if refusal is None else self.answer(Request(scope), refusal)
        await app(scope, receive, hardened)

    def _refusal(self, method: str, headers: Headers) -> HTTPException | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return HTTPException(421, f"This service does not answer to the name {host!r}.")
        if method not in SAFE_METHODS and is_from_another_site(headers):
            return HTTPException(403, "This request was sent by a page of another site.")
        return None

    def _is_ours(self, host: str) -> bool:
        name = re.sub(r":\d+$", "", host).strip("[]").lower()
        return name in self.allowed_hosts or _is_address(name)


def is_from_another_site(headers: Headers) -> bool:
    """Tell whether a browser sent the request on behalf of a page that is not ours; programs send
    neither of the two headers.
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
