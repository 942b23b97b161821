"""Endpoints of the verbs on studies: pause, resume, stop, cancel, retry, change of priority."""

from typing import Any

from fastapi import APIRouter, Response

from gradnoise_service.api.auth import Submitter
from gradnoise_service.api.parameters import StudyId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import PriorityIn, RetryIn, StopIn, StudyOut
from gradnoise_service.api.shown import shown
from gradnoise_service.api.state import CurrentService
from gradnoise_service.usecases import verbs

router = APIRouter(prefix="/v1", tags=["studies"])
SHOWN: dict[str, Any] = {"response_model": StudyOut, "responses": documented(404, 409, 422)}
WITH_BODY: dict[str, Any] = SHOWN | {"responses": documented(400, 404, 409, 413, 415, 422)}


@router.post("/studies/{study_id}/pause", summary="Pause a study", **SHOWN)
def pause(caller: Submitter, service: CurrentService, study_id: StudyId) -> Response:
    """Write the state of the trials under way, then free the devices; `resume` continues.

    The state is `pausing` until the devices are free. The pause changes no result.
    """
    return shown(service, verbs.pause(service, caller, study_id))


@router.post("/studies/{study_id}/resume", summary="Resume a study", **SHOWN)
def resume(caller: Submitter, service: CurrentService, study_id: StudyId) -> Response:
    """Queue a paused study again; its trials continue from their checkpoints."""
    return shown(service, verbs.resume(service, caller, study_id))


@router.post("/studies/{study_id}/stop", summary="Stop a study", **WITH_BODY)
def stop(
    caller: Submitter, service: CurrentService, study_id: StudyId, wanted: StopIn | None = None
) -> Response:
    """Finish the trials that have started, start no other, and report on what there is.

    What not every arm has started does not count. With `confirm`, only the search is stopped: the
    settings that it found are confirmed as declared.
    """
    confirms = wanted is not None and wanted.confirm
    return shown(service, verbs.stop(service, caller, study_id, confirms=confirms))


@router.post("/studies/{study_id}/cancel", summary="Cancel a study", **SHOWN)
def cancel(caller: Submitter, service: CurrentService, study_id: StudyId) -> Response:
    """End a study now; its measurements are kept."""
    return shown(service, verbs.cancel(service, caller, study_id))


@router.post("/studies/{study_id}/retry", summary="Retry a study", **WITH_BODY)
def retry(
    caller: Submitter, service: CurrentService, study_id: StudyId, wanted: RetryIn | None = None
) -> Response:
    """Queue a failed or complete study again; the failed trials of its last phase run again.

    They keep their seeds and settings. The report states how many there were.
    """
    accepts = wanted is not None and wanted.accept_changed_code
    return shown(service, verbs.retry(service, caller, study_id, accepts_changed_code=accepts))


@router.post("/studies/{study_id}/priority", summary="Change the priority of a study", **WITH_BODY)
def prioritize(
    caller: Submitter, service: CurrentService, study_id: StudyId, wanted: PriorityIn
) -> Response:
    """Change the priority of a study that is queued or paused; the spec keeps the submitted one."""
    return shown(service, verbs.prioritize(service, caller, study_id, wanted.priority))
