"""What a service behind a reverse proxy believes of it, and the path below which it is served."""

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gradnoise_service.settings import Network


class BehindProxy:
    """Middleware that puts address, scheme and Host of the client in place of the proxy's.

    The headers X-Forwarded-For, -Proto and -Host of other peers are ignored, so that no client can
    choose its address. The root path is removed from the requests that contain it, and put before
    the paths to which responses redirect.

    Args:
        app: The app.
        proxies: The networks of the proxies.
        root_path: The path below which the proxy serves the app; empty for the root of its host.
    """

    def __init__(self, app: ASGIApp, proxies: Collection[Network], root_path: str) -> None:
        self.app = app
        self.proxies = proxies
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = {**scope, "root_path": self.root_path}
        if self.root_path and not scope["path"].startswith(self.root_path + "/"):
            scope["path"] = self.root_path + scope["path"]
        if scope.get("client") and self._is_proxy(scope["client"][0]):
            self._forward(scope)

        async def send_redirected(message: Message) -> None:
            if message["type"] == "http.response.start" and self.root_path:
                headers = MutableHeaders(scope=message)
                location = headers.get("location", "")
                if location.startswith("/"):
                    headers["location"] = self.root_path + location
            await send(message)

        await self.app(scope, receive, send_redirected)

    def _forward(self, scope: Scope) -> None:
        headers = MutableHeaders(raw=list(scope["headers"]))
        scope["client"] = (self._client(headers) or scope["client"][0], 0)
        scheme = headers.get("x-forwarded-proto", "").strip().lower()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        if host := headers.get("x-forwarded-host", "").strip():
            headers["host"] = host
        scope["headers"] = headers.raw

    def _client(self, headers: Headers) -> str | None:
        """Return the last address that no proxy of ours has; it was written by a proxy of ours."""
        listed = ",".join(headers.getlist("x-forwarded-for")).split(",")
        addresses = [address.strip() for address in listed if _is_address(address.strip())]
        others = [address for address in addresses if not self._is_proxy(address)]
        return others[-1] if others else next(iter(addresses), None)

    def _is_proxy(self, host: str) -> bool:
        return _is_address(host) and any(ipaddress.ip_address(host) in net for net in self.proxies)


def path_below_root(scope: Scope) -> str:
    """Return the path of a request without the root path of the service."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
