"""The list of studies as a page, and what is done to several studies at once."""

from collections.abc import Mapping, Sequence
from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse

from gradnoise_service.api.auth import Reader, Submitter
from gradnoise_service.api.parameters import MAX_ID
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.errors import ConflictError, NotFoundError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.remarks import StudyFilter
from gradnoise_service.domain.study import StudyState, Verdict
from gradnoise_service.domain.study_list import ORDERS
from gradnoise_service.usecases import studies, study_list, suites, verbs
from gradnoise_service.web.forms import Fields
from gradnoise_service.web.templating import document, render_page

router = APIRouter(include_in_schema=False)

N_STUDIES = 50
MAX_PAGE = 10_000
MOST_COMPARED = 50
PICKED = "study."
"""Names of the boxes that pick a study begin so, and end with its id."""
ACTIONS = {"cancel": verbs.cancel, "delete": studies.delete}
Text = Annotated[str, Query(max_length=200)]


@router.get("/")
def list_studies(
    caller: Reader,
    service: CurrentService,
    request: Request,
    text: Text = "",
    state: Text = "",
    verdict: Text = "",
    workload: Text = "",
    owner: Text = "",
    tag: Text = "",
    order: Text = "newest",
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1,
) -> Response:
    """Show the studies that the filter admits, with the progress of those that run."""
    given = {
        "text": text.replace("\0", ""),
        "state": state,
        "verdict": verdict,
        "workload": workload,
        "owner": owner,
        "tag": tag,
    }
    found = study_list.read(
        service,
        caller,
        only=StudyFilter(**{name: value or None for name, value in given.items()}),  # type: ignore[arg-type]  # an unknown state admits no study
        order=order if order in ORDERS else "newest",  # type: ignore[arg-type]
        skip=(page - 1) * N_STUDIES,
        limit=N_STUDIES,
    )
    chosen = {name: value for name, value in given.items() if value}
    chosen |= {"order": order} if order != "newest" else {}
    return render_page(
        request,
        service,
        caller,
        "studies.html",
        list=found,
        counts={study_id: counts(progress) for study_id, progress in found.progress.items()},
        given=given,
        is_filtered=any(given.values()),
        order=order,
        orders=ORDERS,
        choices={
            "state": get_args(StudyState),
            "verdict": get_args(Verdict),
            "workload": found.choices.workloads,
            "owner": found.choices.owners,
            "tag": found.choices.tags,
        },
        page=page,
        earlier=urlencode(chosen | {"page": page - 1}) if page > 1 else "",
        later=urlencode(chosen | {"page": page + 1}) if found.has_more else "",
        has_active=any(not line.has_ended for line in found.lines),
    )


@router.post("/studies/several")
def act(caller: Submitter, service: CurrentService, request: Request, form: Fields) -> Response:
    """Cancel or delete the picked studies: first asks, then does it and lists what was refused."""
    action, ids = form.get("action", ""), picked(form)
    if action not in ACTIONS:
        raise HTTPException(422, "The action must be cancel or delete.")
    if not ids:
        return RedirectResponse("/", status_code=303)
    refused: dict[str, str] = {}
    if "confirmed" in form:
        for study_id in ids:
            try:
                ACTIONS[action](service, caller, study_id)
            except (ConflictError, NotFoundError) as error:
                refused[str(study_id)] = str(error)
        if not refused:
            return RedirectResponse("/", status_code=303)
    known = [study for study in ids if str(study) not in refused] if "confirmed" not in form else []
    return render_page(
        request,
        service,
        caller,
        "several.html",
        action=action,
        studies=[studies.show(service, caller, study_id) for study_id in known],
        refused=refused,
    )


@router.get("/compare")
def compare(caller: Reader, service: CurrentService, request: Request) -> Response:
    """Show the picked studies side by side: a forest plot of their effects, settings and costs."""
    ids = picked(request.query_params)[:MOST_COMPARED]
    if not ids:
        return RedirectResponse("/", status_code=303)
    return document(request, suites.compare(service, caller, ids), "/", "Studies")


def picked(form: Mapping[str, str]) -> Sequence[int]:
    """Return the ids of the studies that a form picks.

    >>> picked({"study.7": "on", "study.x": "on", "action": "cancel"})
    [7]
    """
    names = (name.removeprefix(PICKED) for name in form if name.startswith(PICKED))
    ids = (int(name) for name in names if name.isdecimal() and len(name) < 20)
    return [study_id for study_id in ids if 1 <= study_id <= MAX_ID]


def counts(progress: Progress) -> tuple[int, int]:
    """Return the number of a study's trials that have ended, and of all its trials."""
    return sum(arm.n_ended for arm in progress.arms), sum(arm.n_trials for arm in progress.arms)
