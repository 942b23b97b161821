"""Endpoints of reports: a study's comparison in several formats, and its figures."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, Path, Query, Response
from starlette.exceptions import HTTPException

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.guard import DOCUMENT_POLICY
from gradnoise_service.api.parameters import StudyId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.state import CurrentService
from gradnoise_service.usecases import reports
from gradnoise_service.usecases.reports import ImageFormat, ReportFormat

router = APIRouter(prefix="/v1", tags=["report"])

Format = TypeVar("Format")

FORMATS: dict[str, ReportFormat] = {
    "application/json": "json",
    "text/html": "html",
    "text/markdown": "md",
    "text/csv": "csv",
    "application/x-tex": "tex",
}
MEDIA_TYPES = {format: media_type for media_type, format in FORMATS.items()}
IMAGE_TYPES: dict[ImageFormat, str] = {"svg": "image/svg+xml", "png": "image/png"}
FigureName = Literal[
    "confirm",
    "difference",
    "best_so_far",
    "tuning_curves",
    "learning_rate",
    "noise_map",
    "importance",
    "course",
    "noise_course",
]
Accept = Annotated[str, Header(description=f"One of {', '.join(FORMATS)}; JSON by default.")]

TEXT: dict[str, Any] = {"schema": {"type": "string"}}
REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The comparison.",
        "content": {
            **dict.fromkeys(FORMATS, TEXT),
            "application/json": {"schema": {"$ref": "#/components/schemas/Report"}},
        },
    }
}
FIGURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The figure.",
        "content": {
            "image/svg+xml": TEXT,
            "image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}},
        },
    }
}


@router.get(
    "/studies/{study_id}/report",
    summary="Read a study's report",
    response_class=Response,
    responses=REPORT | documented(404, 406, 409, 422),
)
def report(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    accept: Accept = "*/*",
    format: Annotated[ReportFormat | None, Query(description="Overrides Accept.")] = None,
) -> Response:
    """Return the comparison of the arms.

    Before the study has ended it is an interim comparison, marked as such.
    """
    chosen = preferred_format(accept, FORMATS) if format is None else format
    return as_response(reports.report(service, caller, study_id, chosen), MEDIA_TYPES[chosen])


@router.get(
    "/studies/{study_id}/report/figures/{name}",
    summary="Draw a figure of a study's report",
    response_class=Response,
    responses=FIGURE | documented(404, 409, 422),
)
def figure(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    name: Annotated[FigureName, Path(description="The figure.")],
    format: Annotated[ImageFormat, Query(description="Image format.")] = "svg",
) -> Response:
    """Return a figure in light colours; 404 if the study has no data for it."""
    image = reports.figure(service, caller, study_id, name, format)
    headers = {"Content-Security-Policy": DOCUMENT_POLICY}
    return Response(image, media_type=IMAGE_TYPES[format], headers=headers)


def as_response(text: str, media_type: str) -> Response:
    """Return a report that was chosen by Accept; HTML with the policy of a document."""
    policy = {"Content-Security-Policy": DOCUMENT_POLICY} if media_type == "text/html" else {}
    return Response(text, media_type=media_type, headers={"Vary": "Accept"} | policy)


def preferred_format(accept: str, formats: Mapping[str, Format]) -> Format:
    """Return the format that an Accept header prefers; the first if it has no preference.

    Args:
        accept: The header.
        formats: The formats by media type.

    Raises:
        HTTPException: 406 if the header accepts no format.

    >>> preferred_format("text/html,application/xhtml+xml,*/*;q=0.8", FORMATS)
    'html'
    """
    qualities = {name: _quality(accept or "*/*", name) for name in formats}
    best = max(qualities, key=lambda name: qualities[name])
    if qualities[best] <= 0:
        raise HTTPException(406, f"No report format matches Accept: {accept}.")
    return formats[best]


def _quality(accept: str, media_type: str) -> float:
    """Return the quality of a media type in a header, from 0 to 1.

    The most specific range that matches the type counts.
    """
    specificity = {media_type: 3, media_type.split("/")[0] + "/*": 2, "*/*": 1}
    best = (0, 0.0)
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.lower().split(";"))
        text = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        quality = float(text) if text.replace(".", "", 1).isdecimal() else 0.0
        best = max(best, (specificity.get(name, -1), quality))
    return best[1]
