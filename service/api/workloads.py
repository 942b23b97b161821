"""What the workers can train, as they announced it."""

from fastapi import APIRouter

from service.api.auth import Reader
from service.api.problem import documented
from service.api.schemas import Items, NamedOut, WorkloadOut
from service.api.service import CurrentService
from service.store import catalogue

router = APIRouter(tags=["workloads"])


@router.get("/workloads", summary="List the workloads", responses=documented(503))
def list_workloads(_caller: Reader, service: CurrentService) -> Items[WorkloadOut]:
    """Return what can be trained, with options, metrics and hyperparameters."""
    with service.database.session() as session:
        return Items(items=list(map(WorkloadOut.of, catalogue.read(session).workloads.values())))


@router.get("/techniques", summary="List the techniques", responses=documented(503))
def list_techniques(_caller: Reader, service: CurrentService) -> Items[NamedOut]:
    """Return what an arm can do to training."""
    with service.database.session() as session:
        return Items(items=list(map(NamedOut.of, catalogue.read(session).techniques.values())))


@router.get("/optimizers", summary="List the optimizers", responses=documented(503))
def list_optimizers(_caller: Reader, service: CurrentService) -> Items[NamedOut]:
    """Return the optimizers that a study can name."""
    with service.database.session() as session:
        return Items(items=list(map(NamedOut.of, catalogue.read(session).optimizers.values())))
