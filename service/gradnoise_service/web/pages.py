"""Pages of a study and its report, and of suites."""

from fastapi import APIRouter, Response
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse

from gradnoise_service.api.auth import Reader, Submitter
from gradnoise_service.api.parameters import StudyId, SuiteName, SuiteOwner
from gradnoise_service.api.schemas import ExtensionIn
from gradnoise_service.api.state import CurrentService
from gradnoise_service.api.validation import request_errors
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.remarks import Remarks
from gradnoise_service.domain.verbs import allowed
from gradnoise_service.report.words.anytime import extension_cost, lengthening_cost
from gradnoise_service.report.words.rehearsal import known_limits
from gradnoise_service.usecases import changed_code, reports, sources, studies, suites, trials
from gradnoise_service.web.forms import ACCEPTS_CHANGED_CODE, Fields
from gradnoise_service.web.templating import document, render_page
from gradnoise_service.web.trial_pages import live_charts, table_of

router = APIRouter(include_in_schema=False)

N_TRIALS = 20


@router.get("/studies/{study_id}")
def show(caller: Reader, service: CurrentService, request: Request, study_id: StudyId) -> Response:
    """Show a study: state, verdict, progress of each arm, declaration, latest trials."""
    study = studies.show(service, caller, study_id)
    progress = studies.progress(service, caller, study_id)
    return render_page(
        request,
        service,
        caller,
        "study.html",
        study=study,
        design=study.design,
        warnings=known_limits(study),
        verdicts=reports.verdicts(service, caller, study, progress),
        progress=progress,
        source=sources.of_study(service, caller, study_id) if study.spec.source else None,
        charts=live_charts(service, study),
        table=table_of(service, caller, study, trials.latest(service, caller, study_id, N_TRIALS)),
        has_report=_has_report(progress),
        verbs=allowed(study.state) if caller.may("submit") else (),
        can_extend=caller.may("submit") and study.state == "complete",
        changed=changed_code.of_study(service, study) if study.has_ended else [],
    )


@router.post("/studies/{study_id}/remarks")
def remark(caller: Submitter, service: CurrentService, study_id: StudyId, form: Fields) -> Response:
    """Replace the tags and the note of a study and show it again."""
    tags = [tag.strip().lower() for tag in form.get("tags", "").split(",") if tag.strip()]
    note = form.get("note", "").replace("\r\n", "\n").strip()
    try:
        remarks = Remarks(tags=tags, note=note)
    except ValidationError as error:
        faults = [{**each, "loc": ("form", *each["loc"])} for each in error.errors()]
        raise InvalidSpecError(request_errors(faults)) from None
    studies.remark(service, caller, study_id, remarks)
    return RedirectResponse(f"/studies/{study_id}", status_code=303)


@router.get("/studies/{study_id}/extend")
def confirm_extension(
    caller: Submitter,
    service: CurrentService,
    request: Request,
    study_id: StudyId,
    seeds: str = "",
    epochs: str = "",
) -> Response:
    """Show the error probability of an extension, with a button that extends the study."""
    added = _extension(seeds, epochs)
    study = studies.extend(
        service,
        caller,
        study_id,
        added.seeds,
        n_epochs=added.epochs,
        is_dry_run=True,
        accepts_changed_code=True,
    )
    design = study.design
    cost = (
        lengthening_cost(design.epochs("confirm"), design.false_verdict_chance)
        if added.epochs
        else extension_cost(design.n_seeds, design.false_verdict_chance)
    )
    return render_page(
        request,
        service,
        caller,
        "extend.html",
        study=study,
        added=added,
        cost=cost,
        changed=changed_code.of_study(service, study),
    )


@router.post("/studies/{study_id}/extend")
def extend(caller: Submitter, service: CurrentService, study_id: StudyId, form: Fields) -> Response:
    """Extend a complete study by confirm seeds or by epochs, and show it again."""
    added = _extension(form.get("seeds", ""), form.get("epochs", ""))
    studies.extend(
        service,
        caller,
        study_id,
        added.seeds,
        n_epochs=added.epochs,
        accepts_changed_code=ACCEPTS_CHANGED_CODE in form,
    )
    return RedirectResponse(f"/studies/{study_id}", status_code=303)


@router.get("/studies/{study_id}/report")
def report(
    caller: Reader, service: CurrentService, request: Request, study_id: StudyId
) -> Response:
    """Show the report with a link back to the study."""
    html = reports.report(service, caller, study_id, "html")
    return document(request, html, f"/studies/{study_id}", "Study")


@router.get("/suites")
def list_suites(caller: Reader, service: CurrentService, request: Request) -> Response:
    """Show the suites with the number of their studies that have ended."""
    return render_page(
        request, service, caller, "suites.html", suites=suites.list_all(service, caller)
    )


@router.get("/suites/{name}")
def suite_report(
    caller: Reader,
    service: CurrentService,
    request: Request,
    name: SuiteName,
    owner: SuiteOwner = None,
) -> Response:
    """Show the report of a suite with a link back to the suites."""
    html = suites.report(service, caller, name, "html", owner)
    return document(request, html, "/suites", "Suites")


def _has_report(progress: Progress) -> bool:
    """True if a trial has ended with a result."""
    return any(
        arm.best_value is not None or arm.n_failed or arm.n_pruned or arm.n_diverged
        for arm in progress.arms
    )


def _extension(seeds: str, epochs: str) -> ExtensionIn:
    given = {name: text for name, text in (("seeds", seeds), ("epochs", epochs)) if text.strip()}
    try:
        return ExtensionIn(**{name: int(text) for name, text in given.items()})  # type: ignore[arg-type]  # numbers alone
    except ValueError:  # pydantic's ValidationError is a ValueError
        message = "is not a number of seeds or epochs" if given else "is missing"
        legal = "a whole number, at least 1, of either seeds or epochs"
        name, value = next(iter(given.items()), ("seeds", ""))
        fault = FieldFault(field=name, value=value, message=message, legal=legal)
        raise InvalidSpecError([fault]) from None
