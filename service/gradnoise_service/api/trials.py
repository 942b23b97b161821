"""Endpoints of a study's trials: measurements, attempts, logs."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.pagination import next_address
from gradnoise_service.api.parameters import MAX_ID, OfTrial, StudyId, TrialId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import Items, Page
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.log import AttemptRecord, LogPiece
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Measurement, Trial, TrialState
from gradnoise_service.usecases import trials

router = APIRouter(prefix="/v1", tags=["trials"])

After = Annotated[int, Query(ge=0, le=MAX_ID, description="Only trials with an id above this id.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Maximum number of items.")]
ArmName = Annotated[
    str | None,
    Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$", description="Only trials of this arm."),
]
TrialPhase = Annotated[Phase | None, Query(description="Only trials of this phase.")]
State = Annotated[TrialState | None, Query(description="Only trials in this state.")]

LogAfter = Annotated[int, Query(ge=0, le=MAX_ID, description="Only pieces with an id above this.")]
LOG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The log.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


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
    "/studies/{study_id}/trials/{trial_id}", summary="Show a trial", responses=documented(404, 422)
)
def show(caller: Reader, service: CurrentService, study_id: StudyId, trial_id: TrialId) -> Trial:
    """Return a trial with its setting, its state and the error of its last attempt."""
    return trials.show(service, caller, study_id, trial_id)


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


@router.get(
    "/studies/{study_id}/trials/{trial_id}/attempts",
    summary="List a trial's attempts",
    responses=documented(404, 422),
)
def list_attempts(
    caller: Reader, service: CurrentService, study_id: StudyId, trial_id: TrialId
) -> Items[AttemptRecord]:
    """Return every attempt in order, with its outcome and its error."""
    return Items(items=trials.attempts_of(service, caller, study_id, trial_id))


@router.get(
    "/studies/{study_id}/trials/{trial_id}/log",
    summary="Read a trial's log",
    response_class=PlainTextResponse,
    responses=LOG | documented(404, 422),
)
def trial_log(
    caller: Reader, service: CurrentService, study_id: StudyId, trial_id: TrialId
) -> PlainTextResponse:
    """Return what the trial has printed, attempt by attempt.

    Of much output the start and the end are kept. Of trials that train as one model, it is what any
    of them has printed.
    """
    logs = trials.logs_of(service, caller, study_id, trial_id)
    return PlainTextResponse(
        "".join(f"[attempt {attempt.number}]\n{text}" for attempt, text in logs)
    )


@router.get("/studies/{study_id}/log", summary="Read a study's log", responses=documented(404, 422))
def study_log(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    after: LogAfter = 0,
    limit: Limit = 200,
    trial: OfTrial = None,
) -> Page[LogPiece]:
    """Return a page of what the trials have printed, in the order in which it was stored.

    To follow the log, read on after the id of the last piece.
    """
    found = trials.log_page(service, caller, study_id, after=after, limit=limit, trial_id=trial)
    path, filters = f"/v1/studies/{study_id}/log", {"limit": limit, "trial": trial}
    return Page(items=found.items, next=next_address(path, {"after": found.last_id}, filters))
