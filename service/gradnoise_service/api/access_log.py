"""The access log: a structured line for each answered request."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gradnoise_service.api.proxies import path_below_root

QUIET_PATHS = ("/healthz", "/readyz", "/static/")

logger = structlog.get_logger()


class AccessLog:
    """Middleware that logs method, path, status, duration and client of each request.

    Health checks and static files are logged at the level debug.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_at, status = time.perf_counter(), 500

        async def send_and_record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_record_status)
        finally:
            path = path_below_root(scope)
            is_quiet = path.startswith(QUIET_PATHS) and status in (200, 503)
            log = logger.debug if is_quiet else logger.info
            log(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round((time.perf_counter() - started_at) * 1000, 1),
                client=scope["client"][0] if scope.get("client") else None,
            )
