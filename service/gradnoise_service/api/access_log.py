"""The access log: a structured line for each answered request."""

import time

import structlog
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gradnoise_service.api.proxies import path_below_root

QUIET_PATHS = ("/healthz", "/readyz", "/metrics", "/static/")

logger = structlog.get_logger()


class AccessLog:
    """Middleware that logs method, path, status, duration and client of each request.

    Health checks and static files are logged at the level debug. The durations are counted, without
    those of event streams.
    """

    def __init__(self, app: ASGIApp, latencies: Histogram) -> None:
        self.app = app
        self.latencies = latencies

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
            seconds = time.perf_counter() - started_at
            path = path_below_root(scope)
            route: str = getattr(scope.get("route"), "path", "other")
            if not route.endswith("/events"):
                labels = scope["method"], route, f"{status // 100}xx"
                self.latencies.labels(*labels).observe(seconds)
            is_quiet = path.startswith(QUIET_PATHS) and status in (200, 503)
            log = logger.debug if is_quiet else logger.info
            log(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(seconds * 1000, 1),
                client=scope["client"][0] if scope.get("client") else None,
            )
