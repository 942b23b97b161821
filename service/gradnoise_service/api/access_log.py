"""One structured line for each request that has been answered."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

QUIET = ("/healthz", "/readyz", "/static/")

logger = structlog.get_logger()


class AccessLog:
    """Middleware that logs method, path, status and milliseconds; what machines ask every few
    seconds only where debugging is on.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            log = (
                logger.debug
                if scope["path"].startswith(QUIET) and status in (200, 503)
                else logger.info
            )
            client = scope["client"][0] if scope.get("client") else None
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            log(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=milliseconds,
                client=client,
            )
