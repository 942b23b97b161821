"""Endpoints of health checks: whether the process runs, and whether it is ready."""

from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Response

from gradnoise_service.api.schemas import CheckOut, DispatcherOut, Readiness
from gradnoise_service.api.state import CurrentService
from gradnoise_service.usecases import health
from gradnoise_service.usecases.service import Service

router = APIRouter(tags=["health"])

THREADS = CapacityLimiter(2)
"""Threads of their own, so that requests that wait for a database do not delay the answer."""

NO_TOKEN: dict[str, Any] = {"security": []}
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Readiness, "description": "Not ready; the checks name what is missing."}
}


@router.get("/healthz", summary="Check that the process runs", openapi_extra=NO_TOKEN)
async def healthz() -> dict[str, str]:
    """Answer at once, without any check."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Check that studies can be submitted",
    responses=NOT_READY,
    openapi_extra=NO_TOKEN,
)
async def readyz(service: CurrentService, response: Response) -> Readiness:
    """Check the database, its schema and the announced workloads; list the live dispatchers."""
    readiness = await run_sync(_readiness, service, limiter=THREADS)
    response.status_code = 200 if readiness.ready else 503
    return readiness


def _readiness(service: Service) -> Readiness:
    checks = list(health.checks(service))
    is_ready = all(check.ok for check in checks)
    live = health.live_dispatchers(service) if is_ready else []
    return Readiness(
        ready=is_ready,
        checks=[CheckOut.model_validate(check, from_attributes=True) for check in checks],
        dispatchers=[DispatcherOut.model_validate(info, from_attributes=True) for info in live],
    )
