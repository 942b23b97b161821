"""What the workers can train, as they announced it."""

from fastapi import APIRouter

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import Items, NamedOut, TechniqueOut, Techniques, WorkloadOut
from gradnoise_service.api.service import CurrentService
from gradnoise_service.store import catalogues

router = APIRouter(tags=["workloads"])


@router.get("/workloads", summary="List the workloads", responses=documented(503))
def list_workloads(_caller: Reader, service: CurrentService) -> Items[WorkloadOut]:
    """Return what can be trained, with options, metrics and hyperparameters."""
    with service.database.session() as session:
        return Items(items=list(map(WorkloadOut.of, catalogues.read(session).workloads.values())))


@router.get("/techniques", summary="List the techniques and optimizers", responses=documented(503))
def list_techniques(_caller: Reader, service: CurrentService) -> Techniques:
    """Return what an arm can do to training, and the optimizers that a study can name."""
    with service.database.session() as session:
        known = catalogues.read(session)
    techniques = [TechniqueOut.of_technique(one) for one in known.techniques.values()]
    return Techniques(
        items=techniques, optimizers=[NamedOut.of(one) for one in known.optimizers.values()]
    )
