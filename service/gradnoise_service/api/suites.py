"""Endpoints of suites: several studies of the same arms with one answer."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.parameters import SuiteName, SuiteOwner
from gradnoise_service.api.problem import documented
from gradnoise_service.api.reports import TEXT, as_response, preferred_format
from gradnoise_service.api.schemas import Items, SuiteOut
from gradnoise_service.api.state import CurrentService
from gradnoise_service.usecases import suites
from gradnoise_service.usecases.suites import SuiteFormat

router = APIRouter(prefix="/v1", tags=["suites"])

FORMATS: dict[str, SuiteFormat] = {
    "application/json": "json",
    "text/html": "html",
    "text/markdown": "md",
}
MEDIA_TYPES = {format: media_type for media_type, format in FORMATS.items()}
Accept = Annotated[str, Header(description=f"One of {', '.join(FORMATS)}; JSON by default.")]
REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer of the suite.",
        "content": {
            **dict.fromkeys(FORMATS, TEXT),
            "application/json": {"schema": {"$ref": "#/components/schemas/SuiteReport"}},
        },
    }
}


@router.get("/suites", summary="List the suites", responses=documented())
def list_suites(caller: Reader, service: CurrentService) -> Items[SuiteOut]:
    """Return the suites that the caller may see, by name."""
    return Items(items=[SuiteOut.of(suite) for suite in suites.list_all(service, caller)])


@router.get(
    "/suites/{name}",
    summary="Read a suite's report",
    response_class=Response,
    responses=REPORT | documented(404, 406, 409, 422),
)
def show(
    caller: Reader,
    service: CurrentService,
    name: SuiteName,
    accept: Accept = "*/*",
    owner: SuiteOwner = None,
    format: Annotated[SuiteFormat | None, Query(description="Overrides Accept.")] = None,
) -> Response:
    """Return the mean effect over the suite's studies, with its verdict.

    Before every study has ended there is no verdict, but the effects so far.
    """
    chosen = preferred_format(accept, FORMATS) if format is None else format
    text = suites.report(service, caller, name, chosen, owner)
    return as_response(text, MEDIA_TYPES[chosen])
