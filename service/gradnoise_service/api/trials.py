"""Trials of a study and their measurements."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import MAX_ID, Items, Page
from gradnoise_service.api.service import CurrentService
from gradnoise_service.api.studies import StudyId, address
from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Trial, TrialState
from gradnoise_service.store import measurements, studies, trials
from gradnoise_service.store.measurements import MeasurementRow

router = APIRouter(tags=["trials"])

TrialId = Annotated[int, Path(ge=1, le=MAX_ID, description="The trial's id.")]
After = Annotated[int, Query(ge=0, le=MAX_ID, description="Only trials with an id above this one.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most trials to return.")]
ArmName = Annotated[
    str | None,
    Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$", description="Only trials of this arm."),
]
WantedPhase = Annotated[Phase | None, Query(description="Only trials of this phase.")]
WantedState = Annotated[TrialState | None, Query(description="Only trials in this state.")]


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
    phase: WantedPhase = None,
    state: WantedState = None,
) -> Page[Trial]:
    """Return a page of trials by id, which is the order in which they are started."""
    with service.database.session() as session:
        studies.get(session, study_id, caller.sees)
        found = trials.page(
            session, study_id, after=after, limit=limit + 1, arm=arm, phase=phase, state=state
        )
    more = (
        {"after": found[limit - 1].id, "limit": limit, "arm": arm, "phase": phase, "state": state}
        if len(found) > limit
        else None
    )
    return Page(items=found[:limit], next=address(f"/v1/studies/{study_id}/trials", more))


@router.get(
    "/studies/{study_id}/trials/{trial_id}/measurements",
    summary="List a trial's measurements",
    responses=documented(404, 422),
)
def list_measurements(
    caller: Reader, service: CurrentService, study_id: StudyId, trial_id: TrialId
) -> Items[MeasurementRow]:
    """Return the metric values of every epoch; null where a value was not finite."""
    with service.database.session() as session:
        studies.get(session, study_id, caller.sees)
        if not any(
            trial.id == trial_id
            for trial in trials.page(session, study_id, after=trial_id - 1, limit=1)
        ):
            raise NotFoundError(f"Study {study_id} has no trial {trial_id}.")
        return Items(items=measurements.of_trial(session, trial_id))
