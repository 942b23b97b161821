"""The API and its pages as one process: the root that reads the settings, opens the database and
listens.

Run it as `python -m gradnoise_service.app`; it ends in order on SIGTERM and SIGINT.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from gradnoise_service import logs
from gradnoise_service.api import (
    events,
    health,
    presets,
    reports,
    studies,
    tokens,
    trials,
    workloads,
)
from gradnoise_service.api.access_log import AccessLog
from gradnoise_service.api.feed import ProgressFeed
from gradnoise_service.api.guard import Guard
from gradnoise_service.api.limits import BodyLimit, Limiter
from gradnoise_service.api.problem import Problem
from gradnoise_service.api.service import Service
from gradnoise_service.domain.errors import StudyError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.settings import Settings
from gradnoise_service.store import migrate
from gradnoise_service.store import tokens as stored_tokens
from gradnoise_service.store.database import Database, open_database
from gradnoise_service.study_file import MalformedStudyError
from gradnoise_service.web import errors, login, pages, reference

STATIC = Path(__file__).parent / "web" / "static"
SECONDS_TO_STOP = 5
DESCRIPTION = (
    "Does annealed gradient noise help your model, at which settings, and by how much? Submit a "
    "study, follow it, read its verdict."
)

logger = structlog.get_logger()


def now() -> datetime:
    return datetime.now(UTC)


def create_app(
    settings: Settings, database: Database, clock: Callable[[], datetime] = now
) -> FastAPI:
    """Return the API with its pages, on a database that has been migrated."""
    app = FastAPI(
        title="gradnoise",
        description=DESCRIPTION,
        version=version("gradnoise"),
        # FastAPI's own pages load their scripts from the network: ours is
        # gradnoise_service.web.reference
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(AccessLog),
            Middleware(Guard, allowed_hosts=settings.allowed_hosts, answer=errors.answer),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    for kind in (StudyError, MalformedStudyError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, errors.answer)
    app.state.service = Service(
        settings=settings,
        database=database,
        clock=clock,
        limiter=Limiter(settings.requests_per_minute),
        feed=ProgressFeed(database, clock),
        admin_token=settings.bootstrap_token or None,
    )
    v1 = APIRouter(prefix="/v1")
    for resource in (studies, trials, events, reports, workloads, presets, tokens):
        v1.include_router(resource.router)
    for router in (v1, health.router, pages.router, login.router, reference.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    # the way that FastAPI documents
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def main() -> None:
    """Serve until a signal comes."""
    settings = Settings()
    logs.configure(settings, "api")
    # uvicorn stops in order, then raises the signal again: it shall end us with 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    _prepare(settings)
    database = open_database(settings.database)
    _refuse_an_open_door(settings, database)
    app = create_app(settings, database)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_STOP,
    )
    try:
        _Server(config, app.state.service.feed).run()
    finally:
        database.dispose()


class _Server(uvicorn.Server):
    """A server that ends its event streams when it is told to stop, rather than waiting for those
    who watch.
    """

    def __init__(self, config: uvicorn.Config, feed: ProgressFeed) -> None:
        super().__init__(config)
        self._feed = feed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._feed.close()
        super().handle_exit(sig, frame)


def _prepare(settings: Settings) -> None:
    """Migrate the database if it needs it, in a process of its own: that loads Optuna, which this
    one does without.
    """
    database = open_database(settings.database)
    is_current = database.revision() == migrate.head()
    database.dispose()
    if not is_current:
        subprocess.run([sys.executable, "-m", "gradnoise_service.migrate"], check=True)


def _refuse_an_open_door(settings: Settings, database: Database) -> None:
    if settings.is_loopback or settings.bootstrap_token:
        return
    with database.session() as session:
        if stored_tokens.count(session) > 0:
            return
    sys.exit(
        f"gradnoise: refused to listen on {settings.host}, which others can reach, without any "
        "token.\n"
        "Set GRADNOISE_ADMIN_TOKEN or GRADNOISE_ADMIN_TOKEN_FILE, or listen on 127.0.0.1."
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the schemas that bodies, reports and problems refer to."""
    if app.openapi_schema is None:
        # loads numpy, which the first reader of the document may wait for
        from gradnoise_service.compare import Comparison

        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document["components"]["schemas"]
        for model in (Problem, StudySpec, Comparison):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema


if __name__ == "__main__":
    main()
