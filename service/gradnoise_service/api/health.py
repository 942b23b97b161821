"""Endpoints of health checks: whether the process runs, and whether it is ready."""

from typing import Any

from fastapi import APIRouter, Response

from gradnoise_service.api.schemas import CheckOut, DispatcherOut, Readiness
from gradnoise_service.api.state import CurrentService
from gradnoise_service.usecases import health

router = APIRouter(tags=["health"])

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
def readyz(service: CurrentService, response: Response) -> Readiness:
    """Check the database, its schema and the announced workloads; list the live dispatchers."""
    checks = list(health.checks(service))
    is_ready = all(check.ok for check in checks)
    response.status_code = 200 if is_ready else 503
    live = health.live_dispatchers(service) if is_ready else []
    return Readiness(
        ready=is_ready,
        checks=[CheckOut.model_validate(check, from_attributes=True) for check in checks],
        dispatchers=[DispatcherOut.model_validate(info, from_attributes=True) for info in live],
    )
