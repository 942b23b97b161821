"""Pages for people: the studies, one study as it runs, its report."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.requests import Request
from starlette.responses import RedirectResponse

from gradnoise_service.api import reports
from gradnoise_service.api.auth import Reader, Submitter
from gradnoise_service.api.schemas import MAX_ID, ExtensionIn
from gradnoise_service.api.service import CurrentService
from gradnoise_service.api.studies import StudyId
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.store import studies, trials
from gradnoise_service.web.forms import Fields
from gradnoise_service.web.templating import render

router = APIRouter(include_in_schema=False)

N_STUDIES = 50
N_TRIALS = 20
Before = Annotated[int | None, Query(ge=1, le=MAX_ID)]


@router.get("/")
def list_studies(
    caller: Reader, service: CurrentService, request: Request, before: Before = None
) -> Response:
    """Show the studies, newest first, with the progress of those under way."""
    with service.database.session() as session:
        found = studies.page(session, owner=caller.sees, before=before, limit=N_STUDIES + 1)
        progress = {
            s.id: studies.progress(session, s.id, service.clock())
            for s in found[:N_STUDIES]
            if s.state == "running"
        }
    following = found[N_STUDIES - 1].id if len(found) > N_STUDIES else None
    shown = found[:N_STUDIES]
    active = any(not study.has_ended for study in shown)
    counts = {study_id: _counts(of_study) for study_id, of_study in progress.items()}
    return _page(
        request,
        service,
        "studies.html",
        studies=shown,
        counts=counts,
        progress=progress,
        next=following,
        active=active,
    )


@router.get("/studies/{study_id}")
def show(caller: Reader, service: CurrentService, request: Request, study_id: StudyId) -> Response:
    """Show one study: state, verdict, how far each arm is, its settings, its latest trials."""
    with service.database.session() as session:
        study = studies.get(session, study_id, caller.sees)
        progress = studies.progress(session, study_id, service.clock())
        latest = trials.latest(session, study_id, N_TRIALS)
    has_report = any(
        arm.best_value is not None or arm.n_failed or arm.n_pruned for arm in progress.arms
    )
    can_cancel = caller.may("submit") and not study.has_ended
    can_extend = caller.may("submit") and study.state == "complete"
    return _page(
        request,
        service,
        "study.html",
        study=study,
        progress=progress,
        trials=latest,
        has_report=has_report,
        can_cancel=can_cancel,
        can_extend=can_extend,
    )


@router.post("/studies/{study_id}/cancel")
def cancel(caller: Submitter, service: CurrentService, study_id: StudyId) -> Response:
    """End a study and show it again."""
    with service.database.session(write=True) as session:
        studies.cancel(session, study_id, caller.sees, service.clock())
    return RedirectResponse(f"/studies/{study_id}", status_code=303)


@router.post("/studies/{study_id}/extend")
def extend(caller: Submitter, service: CurrentService, study_id: StudyId, form: Fields) -> Response:
    """Give a complete study more confirm seeds and show it again."""
    try:
        seeds = ExtensionIn.model_validate({"seeds": int(form.get("seeds", ""))}).seeds
    except ValueError:  # a ValidationError is one too
        fault = FieldFault(
            field="seeds",
            value=form.get("seeds"),
            message="is no number of seeds",
            legal="a whole number, at least 1",
        )
        raise InvalidSpecError([fault]) from None
    with service.database.session(write=True) as session:
        studies.extend(
            session,
            study_id,
            caller.sees,
            seeds,
            max_trials=service.settings.max_trials,
            now=service.clock(),
        )
    return RedirectResponse(f"/studies/{study_id}", status_code=303)


@router.get("/studies/{study_id}/report")
def report(caller: Reader, service: CurrentService, study_id: StudyId) -> Response:
    """Show the report, as the API gives it."""
    return reports.report(caller, service, study_id, format="html")


def _page(request: Request, service: CurrentService, template: str, **values: Any) -> Response:
    return render(
        request,
        template,
        needs_tokens=service.needs_tokens,
        dashboard=f"{service.settings.dashboard_url}/dashboard/",
        **values,
    )


def _counts(progress: Progress) -> tuple[int, int]:
    """Return how many of a study's trials have ended, and how many there are."""
    return sum(arm.n_ended for arm in progress.arms), sum(arm.n_trials for arm in progress.arms)
