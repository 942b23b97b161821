"""The Optuna Dashboard behind a guard: `python -m gradnoise_service.dashboard`.

It has neither authentication nor a read-only mode of its own, so both stand before it: only GET and
HEAD pass, only under our own Host names, and where tokens are needed only with one that may see
every owner's studies, since the dashboard shows them all.
"""

import base64
import binascii
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import uvicorn
from a2wsgi import WSGIMiddleware
from optuna_dashboard import wsgi  # type: ignore[import-untyped]  # it has no annotations
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gradnoise_service import logs
from gradnoise_service.api.auth import identify, token_of
from gradnoise_service.api.feed import ProgressFeed
from gradnoise_service.api.guard import Guard
from gradnoise_service.api.limits import Limiter
from gradnoise_service.api.problem import answer
from gradnoise_service.api.service import Service
from gradnoise_service.domain.errors import ForbiddenError, StudyError, UnauthenticatedError
from gradnoise_service.migrate import prepare_database
from gradnoise_service.search import Storage, open_storage
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database, open_database

READING = ("GET", "HEAD")


class ReadersOnly:
    """Middleware that lets pass what reads, from callers who may; everything else is answered here.

    A browser is asked for the token as the password of a login, under any user name; the cookie of
    a login to our pages serves too.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            if request.method not in READING:
                raise HTTPException(
                    405, "The dashboard is for reading.", headers={"Allow": ", ".join(READING)}
                )
            await run_in_threadpool(self._admit, request)
        except (HTTPException, StudyError) as error:
            response = answer(request, error)
            if isinstance(error, UnauthenticatedError):
                response.headers["WWW-Authenticate"] = (
                    'Basic realm="gradnoise: any name, the token as password", charset="UTF-8"'
                )
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _admit(self, request: Request) -> None:
        found = identify(self.service, _password(request) or token_of(request))
        if found is None:
            self.service.limiter.take(
                f"address {request.client.host if request.client else 'unknown'}"
            )
            raise UnauthenticatedError()
        if found.sees is not None:
            raise ForbiddenError(
                "The dashboard shows every owner's studies: it needs a token with the scope "
                "'admin'."
            )


def create_app(
    settings: Settings, database: Database, storage: Storage, clock: Callable[[], datetime]
) -> ASGIApp:
    """Return the guarded dashboard."""
    service = Service(
        settings=settings,
        database=database,
        clock=clock,
        limiter=Limiter(settings.requests_per_minute),
        feed=ProgressFeed(database, clock),
        admin_token=settings.bootstrap_token,
    )
    dashboard: Any = WSGIMiddleware(wsgi(storage))
    return Guard(ReadersOnly(dashboard, service), settings.allowed_hosts, answer)


def main() -> None:
    settings = Settings()
    logs.configure(settings, "dashboard")
    # uvicorn stops in order, then raises the signal again: it shall end us with 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    prepare_database(settings.database)
    database = open_database(settings.database)
    app = create_app(settings, database, open_storage(settings.database), lambda: datetime.now(UTC))
    try:
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.dashboard_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
        )
    finally:
        database.dispose()


def _password(request: Request) -> str | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


if __name__ == "__main__":
    main()
