"""The process of the Optuna Dashboard behind a guard: `python -m gradnoise_service.dashboard`.

The dashboard has neither authentication nor a read-only mode. The guard lets only GET and HEAD
requests with a known Host pass, and hides the controls that would send others. Where tokens are
required, the token must have the scope `admin`, because the dashboard shows the studies of every
owner.
"""

import base64
import binascii
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from a2wsgi import WSGIMiddleware
from optuna_dashboard import wsgi  # type: ignore[import-untyped]  # it has no annotations
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gradnoise_service import logs
from gradnoise_service.api.access_log import AccessLog
from gradnoise_service.api.auth import credentials_of
from gradnoise_service.api.guard import Guard
from gradnoise_service.api.latencies import request_seconds
from gradnoise_service.api.limits import BodyLimit, Limiter, address_key
from gradnoise_service.api.problem import problem_response
from gradnoise_service.api.proxies import BehindProxy
from gradnoise_service.api.serving import Server
from gradnoise_service.domain.errors import ForbiddenError, StudyError, UnauthenticatedError
from gradnoise_service.prepare_database import prepare_or_exit
from gradnoise_service.search import Storage, open_storage
from gradnoise_service.settings import Settings, read_settings
from gradnoise_service.store.database import Database, limit_waits, open_database
from gradnoise_service.usecases.callers import identify
from gradnoise_service.usecases.optuna_studies import OptunaStudies
from gradnoise_service.usecases.service import Service
from gradnoise_service.web import optuna_pages

SAFE_METHODS = ("GET", "HEAD")


class ReadersOnly:
    """Middleware that passes GET and HEAD requests of permitted callers and refuses all others.

    A browser gets a login dialog; the token is the password, and the user name is ignored. The
    login cookie of the pages is accepted too.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service
        self.limiter = Limiter(service.settings.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        refused = 0

        async def send_unless_refused(message: Message) -> None:
            """The dashboard's own errors are pages of its framework."""
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = message["status"]
            if not refused:
                await send(message)

        try:
            if request.method not in SAFE_METHODS:
                allowed = {"Allow": ", ".join(SAFE_METHODS)}
                raise HTTPException(405, "The dashboard is read-only.", headers=allowed)
            await run_in_threadpool(self._check_access, request)
            await self.app(scope, receive, send_unless_refused)
            if refused:
                raise HTTPException(refused, "The Optuna Dashboard has no such page or study.")
        except (HTTPException, StudyError) as error:
            response = problem_response(request, error)
            if isinstance(error, UnauthenticatedError):
                response.headers["WWW-Authenticate"] = (
                    'Basic realm="gradnoise: any name, the token as password", charset="UTF-8"'
                )
            await response(scope, receive, send)

    def _check_access(self, request: Request) -> None:
        caller = identify(self.service, *_credentials(request))
        self.limiter.take(f"owner {caller.owner}" if caller else address_key(request))
        if caller is None:
            raise UnauthenticatedError()
        if caller.visible_owner is not None:
            raise ForbiddenError(
                "The dashboard shows the studies of every owner and requires a token with the "
                "scope 'admin'."
            )


def create_app(
    settings: Settings, database: Database, storage: Storage, clock: Callable[[], datetime]
) -> ASGIApp:
    """Return the guarded dashboard."""
    service = Service(
        settings=settings, database=database, clock=clock, admin_token=settings.bootstrap_token
    )
    dashboard: Any = WSGIMiddleware(optuna_pages.read_only(wsgi(storage)))
    addresses = optuna_pages.Addresses(OptunaStudies(database=database, storage=storage))
    # starlette calls the functions in threads
    router = Router(
        [
            Route("/studies/{study_id:int}", addresses.study),
            Route("/studies/{study_id:int}/trials/{trial_id:int}", addresses.trial),
            Route("/studies/{study_id:int}/{label}", addresses.study),
            Mount("/", dashboard),
        ]
    )
    limited = BodyLimit(ReadersOnly(router, service), settings.max_body_bytes)
    guarded = Guard(limited, settings.allowed_hosts, problem_response)
    logged = AccessLog(guarded, request_seconds())
    return BehindProxy(logged, settings.proxies, root_path="")


def main() -> None:
    """Serve until a signal arrives."""
    settings = read_settings()
    logs.configure(settings, "dashboard")
    # uvicorn shuts down, then raises the signal again: exit with 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    prepare_or_exit(settings.database)
    database = open_database(settings.database, settings.database_seconds)
    storage = open_storage(settings.database)
    limit_waits(storage.engine, settings.database_seconds)
    app = create_app(settings, database, storage, lambda: datetime.now(UTC))
    try:
        Server(app, settings.host, settings.dashboard_port).run()
    finally:
        database.dispose()


def _credentials(request: Request) -> tuple[str | None, str | None]:
    token, login = credentials_of(request)
    return _password(request) or token, login


def _password(request: Request) -> str | None:
    """Return the password of basic authentication."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


if __name__ == "__main__":
    main()
