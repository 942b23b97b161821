"""The process of the API and the pages: `python -m gradnoise_service.app`.

It stops in order on SIGTERM and SIGINT.
"""

import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from gradnoise_service import logs
from gradnoise_service.api import (
    events,
    files,
    health,
    metrics,
    openapi,
    presets,
    reports,
    sources,
    state,
    studies,
    suites,
    tokens,
    trials,
    verbs,
    workloads,
)
from gradnoise_service.api.access_log import AccessLog
from gradnoise_service.api.guard import Guard
from gradnoise_service.api.latencies import request_seconds
from gradnoise_service.api.limits import BodyLimit
from gradnoise_service.api.proxies import BehindProxy
from gradnoise_service.api.serving import Server
from gradnoise_service.domain.errors import StudyError
from gradnoise_service.settings import Settings, read_settings
from gradnoise_service.store import migrate
from gradnoise_service.store.database import Database, open_database
from gradnoise_service.study_text import MalformedStudyError
from gradnoise_service.usecases import notices
from gradnoise_service.usecases.feed import ProgressFeed
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.tokens import can_log_in
from gradnoise_service.web import (
    catalogue,
    errors,
    login,
    pages,
    reference,
    study_list,
    submission,
    trial_pages,
)
from gradnoise_service.web import verbs as verb_forms

STATIC_FOLDER = Path(__file__).parent / "web" / "static"
DESCRIPTION = (
    "Does annealed gradient noise help your model, at which settings, and by how much? Submit a "
    "study, follow its progress, read its verdict."
)
PARTS = (
    *(studies, verbs, suites, sources, trials, files, events, reports, workloads, presets, tokens),
    *(health, metrics),
    *(study_list, pages, trial_pages, verb_forms, submission, login, catalogue, reference),
)
"""The modules of endpoints and pages.

They are not included in a router, which FastAPI would search for each request as well.
"""
HANDLED_ERRORS = (
    StudyError,
    MalformedStudyError,
    RequestValidationError,
    HTTPException,
)


def now() -> datetime:
    return datetime.now(UTC)


def create_app(
    settings: Settings, database: Database, clock: Callable[[], datetime] = now
) -> FastAPI:
    """Return the app of the API and the pages, on a migrated database."""
    latencies = request_seconds()
    app = FastAPI(
        title="gradnoise",
        description=DESCRIPTION,
        version=version("gradnoise"),
        # FastAPI's pages load scripts from the network; gradnoise_service.web.reference replaces
        # them
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(BehindProxy, proxies=settings.proxies, root_path=settings.root_path),
            Middleware(AccessLog, latencies=latencies),
            Middleware(Guard, allowed_hosts=settings.allowed_hosts, respond=errors.respond),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    for kind in HANDLED_ERRORS:
        app.add_exception_handler(kind, errors.respond)
    service = Service(
        settings=settings,
        database=database,
        clock=clock,
        admin_token=settings.bootstrap_token or None,
    )
    state.attach(app, service, ProgressFeed(service))
    app.state.latencies = latencies
    app.router.routes.extend(route for part in PARTS for route in part.router.routes)
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER))
    openapi.install(app)
    return app


def main() -> None:
    """Serve until a signal arrives."""
    settings = read_settings()
    logs.configure(settings, "api")
    # uvicorn shuts down, then raises the signal again: exit with 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    _prepare_database(settings)
    database = open_database(settings.database, settings.database_seconds)
    app = create_app(settings, database)
    _require_login(app.state.service)
    stop = threading.Event()
    sender = threading.Thread(target=notices.run, args=(app.state.service, stop), daemon=True)
    sender.start()
    # else each full collection visits all that the imports have left: up to 0.2 s, each time
    gc.freeze()
    try:
        # event streams would outlast the server
        Server(app, settings.host, settings.port, on_exit=app.state.feed.close).run()
    finally:
        stop.set()
        database.dispose()


def _prepare_database(settings: Settings) -> None:
    """Upgrade the database if needed, in another process, so that this process loads no Optuna."""
    database = open_database(settings.database)
    try:
        is_current = migrate.is_current(database)
    except migrate.UnknownSchemaError as error:
        sys.exit(str(error))
    finally:
        database.dispose()
    if not is_current:
        subprocess.run(
            [sys.executable, "-P", "-m", "gradnoise_service.prepare_database"], check=True
        )


def _require_login(service: Service) -> None:
    if not can_log_in(service):
        sys.exit(
            f"gradnoise: {service.settings.host} is reachable from other machines, but there is no "
            "API token.\n"
            "Set GRADNOISE_ADMIN_TOKEN or GRADNOISE_ADMIN_TOKEN_FILE, or listen on 127.0.0.1."
        )


if __name__ == "__main__":
    main()
