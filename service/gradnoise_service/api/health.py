"""Is the process alive, and can it do its work?"""

from collections.abc import Iterator
from typing import Any

import structlog
from fastapi import APIRouter, Response

from gradnoise_service.api.schemas import Check, DispatcherOut, Readiness
from gradnoise_service.api.service import CurrentService, Service
from gradnoise_service.domain.errors import CatalogueEmptyError
from gradnoise_service.store import catalogues, dispatchers, migrate

router = APIRouter(tags=["health"])
logger = structlog.get_logger()

OPEN_TO_ALL: dict[str, Any] = {"security": []}
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Readiness, "description": "Something is missing; the checks say what."}
}


@router.get("/healthz", summary="Is the process alive?", openapi_extra=OPEN_TO_ALL)
async def healthz() -> dict[str, str]:
    """Answer at once, without looking at anything."""
    return {"status": "alive"}


@router.get(
    "/readyz", summary="Can studies be submitted?", responses=NOT_READY, openapi_extra=OPEN_TO_ALL
)
def readyz(service: CurrentService, response: Response) -> Readiness:
    """Check the database, its schema and the workers' catalogue; list the dispatchers that are
    alive.
    """
    checks = list(_checks(service))
    ready = all(check.ok for check in checks)
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks, dispatchers=_dispatchers(service) if ready else [])


def _checks(service: Service) -> Iterator[Check]:
    """Check one thing after the other, each of which needs the one before; stop at the first that
    fails.
    """
    try:
        service.database.ping()
    except Exception as error:  # whatever the driver raises
        logger.warning("database_unreachable", error=str(error))
        yield Check(
            name="database",
            ok=False,
            detail="The database cannot be reached.",
            hint="Start it, and look at GRADNOISE_DATABASE_URL.",
        )
        return
    yield Check(name="database", ok=True, detail="The database answers.", hint="")
    revision, head = service.database.revision(), migrate.head()
    is_current = revision == head
    detail = (
        f"The schema is at {revision}."
        if is_current
        else f"The schema is at {revision}, this version needs {head}."
    )
    yield Check(
        name="schema",
        ok=is_current,
        detail=detail,
        hint="" if is_current else "Run gradnoise db upgrade.",
    )
    if is_current:
        yield _catalogue_check(service)


def _catalogue_check(service: Service) -> Check:
    try:
        with service.database.session() as session:
            n = len(catalogues.read(session).workloads)
    except CatalogueEmptyError as error:
        return Check(
            name="catalogue",
            ok=False,
            detail=str(error),
            hint="Start a dispatcher: gradnoise up, or python -m gradnoise_workers.",
        )
    return Check(name="catalogue", ok=True, detail=f"Workers can train {n} workloads.", hint="")


def _dispatchers(service: Service) -> list[DispatcherOut]:
    with service.database.session() as session:
        return [
            DispatcherOut.model_validate(info, from_attributes=True)
            for info in dispatchers.live(session, service.clock())
        ]
