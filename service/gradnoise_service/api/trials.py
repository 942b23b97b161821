"""Endpoints of a study's trials and their measurements."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.pagination import next_address
from gradnoise_service.api.parameters import MAX_ID, StudyId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import Items, Page
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Measurement, Trial, TrialState
from gradnoise_service.usecases import trials

router = APIRouter(tags=["trials"])

TrialId = Annotated[int, Path(ge=1, le=MAX_ID, description="The trial's id.")]
After = Annotated[int, Query(ge=0, le=MAX_ID, description="Only trials with an id above this id.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Maximum number of trials.")]
ArmName = Annotated[
    str | None,
    Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$", description="Only trials of this arm."),
]
TrialPhase = Annotated[Phase | None, Query(description="Only trials of this phase.")]
State = Annotated[TrialState | None, Query(description="Only trials in this state.")]


@router.get(
    "/studies/{study_id}/trials", summary="List a study's trials", responses=documented(404, 422)
)
def list_trials(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    after: After = 0,
    limit: Limit = 200,
    arm: ArmName = None,
    phase: TrialPhase = None,
    state: State = None,
) -> Page[Trial]:
    """Return a page of trials in the order of their ids, which is the order of their start."""
    found = trials.page(
        service, caller, study_id, after=after, limit=limit, arm=arm, phase=phase, state=state
    )
    filters = {"limit": limit, "arm": arm, "phase": phase, "state": state}
    path = f"/v1/studies/{study_id}/trials"
    return Page(items=found.items, next=next_address(path, {"after": found.last_id}, filters))


@router.get(
    "/studies/{study_id}/trials/{trial_id}/measurements",
    summary="List a trial's measurements",
    responses=documented(404, 422),
)
def list_measurements(
    caller: Reader, service: CurrentService, study_id: StudyId, trial_id: TrialId
) -> Items[Measurement]:
    """Return the metric values of every epoch; null where a value was not finite."""
    return Items(items=trials.measurements_of(service, caller, study_id, trial_id))
