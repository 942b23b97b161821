"""The report of a study: the stored comparison of one that is complete, or an interim one of what there is."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from starlette.exceptions import HTTPException

from service.api.auth import Reader
from service.api.problem import documented
from service.api.service import CurrentService
from service.api.studies import StudyId
from service.domain.errors import ReportNotReady
from service.domain.study import EpochMean, Study, Trial
from service.store import measurements, studies, trials

router = APIRouter(tags=["report"])

Format = Literal["json", "html", "md"]
MEDIA_TYPES: dict[str, Format] = {"application/json": "json", "text/html": "html", "text/markdown": "md"}
VARY = {"Vary": "Accept"}
HTML_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The report carries its styles within itself and runs no script."""

SCHEMAS: dict[Format, dict[str, str]] = {
    "json": {"$ref": "#/components/schemas/Comparison"},
    "html": {"type": "string"},
    "md": {"type": "string"},
}
SHOWN: dict[int | str, dict[str, Any]] = {
    200: {"description": "The comparison.", "content": {name: {"schema": SCHEMAS[kind]} for name, kind in MEDIA_TYPES.items()}}
}


@router.get(
    "/studies/{study_id}/report",
    summary="Read a study's report",
    response_class=Response,
    responses=SHOWN | documented(404, 406, 409, 422),
)
def report(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    accept: Annotated[str, Header(description="application/json (the default), text/html or text/markdown.")] = "*/*",
    format: Annotated[Format | None, Query(description="Overrides Accept.")] = None,
) -> Response:
    """Return the comparison of the arms; of a study that has not ended, what can be said so far, marked interim."""
    wanted = format or preferred(accept)
    with service.database.session() as session:
        study = studies.get(session, study_id, caller.sees)
        stored = study.comparison is not None
        ended = [] if stored else trials.table(session, study_id)
        epochs = [] if stored else measurements.confirm_courses(session, study_id, study.metric.name)
    return render(study, ended, epochs, wanted)


def render(study: Study, trials: Sequence[Trial], epochs: Sequence[EpochMean], wanted: Format) -> Response:
    """Return a study's report in a format; trials and epochs are looked at only where no comparison is stored.

    Raises:
        ReportNotReady: If no trial has ended.
    """
    # scipy and its like are loaded with the first report, not at the start
    from service import report
    from service.compare import Comparison, compare

    if study.comparison is not None:
        comparison = Comparison.model_validate(study.comparison)
    elif any(trial.state != "cancelled" and trial.has_ended for trial in trials):
        comparison = compare(study.spec, study.metric, trials, protocol=study.protocol, epochs=epochs)
    else:
        raise ReportNotReady()
    if wanted == "json":
        return Response(comparison.model_dump_json(), media_type="application/json", headers=VARY)
    if wanted == "md":
        return Response(report.markdown(study, comparison), media_type="text/markdown", headers=VARY)
    return Response(report.html(study, comparison), media_type="text/html", headers=VARY | {"Content-Security-Policy": HTML_POLICY})


def preferred(accept: str) -> Format:
    """Return the format that an Accept header likes best, JSON where it does not care.

    Raises:
        HTTPException: 406 if it likes none.

    >>> preferred("text/html,application/xhtml+xml,*/*;q=0.8")
    'html'
    """
    likes = {name: _quality(accept or "*/*", name) for name in MEDIA_TYPES}
    best = max(likes, key=lambda name: likes[name])
    if likes[best] <= 0:
        raise HTTPException(406, f"A report cannot be had as {accept!r}.")
    return MEDIA_TYPES[best]


def _quality(accept: str, media_type: str) -> float:
    """Return how much a header likes a type, from 0 to 1: the most specific of its ranges counts."""
    ranges = {media_type: 3, media_type.split("/")[0] + "/*": 2, "*/*": 1}
    found = (0, 0.0)
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.lower().split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        found = max(found, (ranges.get(name, -1), float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0))
    return found[1]
