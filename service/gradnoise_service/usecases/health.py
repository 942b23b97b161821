"""Use cases on health: whether studies can be submitted, and which dispatchers run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from gradnoise_service.domain.errors import CatalogueEmptyError
from gradnoise_service.store import dispatchers, migrate
from gradnoise_service.store.dispatchers import DispatcherInfo
from gradnoise_service.usecases import workloads
from gradnoise_service.usecases.service import Service

logger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of a check, with a hint if it failed."""

    name: Literal["database", "schema", "catalogue"]
    ok: bool
    detail: str
    hint: str = ""


def checks(service: Service) -> Iterator[Check]:
    """Check database, schema and announced workloads in turn; stop at the first failure."""
    for check in (_database, _schema, _catalogue):
        result = check(service)
        yield result
        if not result.ok:
            return


def live_dispatchers(service: Service) -> Sequence[DispatcherInfo]:
    """Return the dispatchers whose lease has not expired."""
    with service.database.session() as session:
        return dispatchers.live(session, service.clock())


def _database(service: Service) -> Check:
    try:
        service.database.ping()
    except Exception as error:  # whatever the driver raises
        logger.warning("database_unreachable", error=str(error))
        return Check(
            name="database",
            ok=False,
            detail="The database cannot be reached.",
            hint="Start the database, and check GRADNOISE_DATABASE_URL.",
        )
    return Check(name="database", ok=True, detail="The database answers.")


def _schema(service: Service) -> Check:
    revision, head = service.database.revision(), migrate.head()
    try:
        is_current = migrate.is_current(service.database)
    except migrate.UnknownSchemaError as error:
        hint = "Install the version that upgraded the database."
        return Check(name="schema", ok=False, detail=str(error), hint=hint)
    if not is_current:
        detail = f"The schema is {revision}, but this version needs {head}."
        return Check(name="schema", ok=False, detail=detail, hint="Run gradnoise db upgrade.")
    return Check(name="schema", ok=True, detail=f"The schema is {revision}.")


def _catalogue(service: Service) -> Check:
    try:
        n_workloads = len(workloads.announced(service).workloads)
    except CatalogueEmptyError as error:
        hint = "Start a dispatcher with gradnoise up or python -m gradnoise_workers."
        return Check(name="catalogue", ok=False, detail=str(error), hint=hint)
    return Check(name="catalogue", ok=True, detail=f"Workers can train {n_workloads} workloads.")
