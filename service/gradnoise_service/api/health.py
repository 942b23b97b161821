"""Endpoints of health checks: whether the process runs, and whether it is ready."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from gradnoise_service.api.state import CurrentService
from gradnoise_service.usecases import health
from gradnoise_service.usecases.service import Service


class CheckOut(BaseModel):
    """The result of a check, with a hint if it failed."""

    name: Literal["database", "schema", "catalogue"]
    ok: bool
    detail: str
    hint: str


class DispatcherOut(BaseModel):
    """A dispatcher whose lease has not expired."""

    id: str
    device: str = Field(description="Its devices in words.")
    faults: Sequence[str] = Field(description="Why GPUs of its cluster are not used, sentences.")
    n_slots: int = Field(description="How many trials run at once, at least.")
    acquired_until: datetime


class Readiness(BaseModel):
    """Whether studies can be submitted, and the live dispatchers."""

    ready: bool
    checks: list[CheckOut]
    dispatchers: list[DispatcherOut]


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
