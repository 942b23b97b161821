"""Endpoints of what the workers can train, as they announced it."""

from fastapi import APIRouter

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import NamedOut, Techniques, WorkloadOut, Workloads
from gradnoise_service.api.state import CurrentService
from gradnoise_service.usecases import workloads

router = APIRouter(prefix="/v1", tags=["workloads"])


@router.get("/workloads", summary="List the workloads", responses=documented(503))
def list_workloads(_caller: Reader, service: CurrentService) -> Workloads:
    """Return the workloads with their options, metrics and hyperparameters.

    `broken` lists the workloads, techniques and optimizers of installed packages that cannot be
    used, each with its error.
    """
    announced = workloads.announced(service)
    return Workloads(
        items=list(map(WorkloadOut.of, announced.workloads.values())),
        broken=list(announced.broken),
    )


@router.get("/techniques", summary="List the techniques and optimizers", responses=documented(503))
def list_techniques(_caller: Reader, service: CurrentService) -> Techniques:
    """Return the techniques that an arm can use, and the optimizers that a study can use."""
    announced = workloads.announced(service)
    return Techniques(
        items=list(map(NamedOut.of, announced.techniques.values())),
        optimizers=list(map(NamedOut.of, announced.optimizers.values())),
    )
