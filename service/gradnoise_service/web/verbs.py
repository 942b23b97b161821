"""The forms of a study's page that act on it; each shows the study again."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from starlette.responses import RedirectResponse

from gradnoise_service.api.auth import Submitter
from gradnoise_service.api.parameters import StudyId
from gradnoise_service.api.schemas import PriorityIn
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.study import Study
from gradnoise_service.usecases import verbs
from gradnoise_service.usecases.service import Service
from gradnoise_service.web.forms import ACCEPTS_CHANGED_CODE, Fields

router = APIRouter(include_in_schema=False)


@router.post("/studies/{study_id}/stop")
def stop(caller: Submitter, service: CurrentService, study_id: StudyId, form: Fields) -> Response:
    """Stop a study, or only its search."""
    verbs.stop(service, caller, study_id, confirms="confirm" in form)
    return _shown(study_id)


@router.post("/studies/{study_id}/retry")
def retry(caller: Submitter, service: CurrentService, study_id: StudyId, form: Fields) -> Response:
    """Run the failed trials of a study again."""
    verbs.retry(service, caller, study_id, accepts_changed_code=ACCEPTS_CHANGED_CODE in form)
    return _shown(study_id)


@router.post("/studies/{study_id}/priority")
def prioritize(
    caller: Submitter, service: CurrentService, study_id: StudyId, form: Fields
) -> Response:
    """Change the priority of a study that waits."""
    verbs.prioritize(service, caller, study_id, _priority(form.get("priority", "")))
    return _shown(study_id)


def _route(verb: Callable[[Service, Caller, int], Study]) -> None:
    """Add the form of a verb without fields."""

    @router.post(f"/studies/{{study_id}}/{verb.__name__}")
    def act(caller: Submitter, service: CurrentService, study_id: StudyId) -> Response:
        verb(service, caller, study_id)
        return _shown(study_id)


for _verb in (verbs.pause, verbs.resume, verbs.cancel):
    _route(_verb)


def _shown(study_id: int) -> Response:
    return RedirectResponse(f"/studies/{study_id}", status_code=303)


def _priority(text: str) -> int:
    try:
        return PriorityIn(priority=int(text)).priority
    except ValueError:  # pydantic's ValidationError is a ValueError
        message, legal = "is not a priority", "a whole number, at least -100 and at most 100"
        fault = FieldFault(field="priority", value=text, message=message, legal=legal)
        raise InvalidSpecError([fault]) from None
