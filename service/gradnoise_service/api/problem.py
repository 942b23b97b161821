"""Errors as application/problem+json (RFC 9457)."""

import json
from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount

from gradnoise_service.api.problem_kinds import (
    KINDS_BY_ERROR,
    KINDS_BY_STATUS,
    ProblemKind,
    kind_of_error,
    kind_of_status,
)
from gradnoise_service.api.validation import beginning, request_errors
from gradnoise_service.domain.errors import (
    MAX_FAULTS,
    CatalogueEmptyError,
    DatabaseUnavailableError,
    FieldFault,
    InvalidSpecError,
    NameTakenError,
    UnauthenticatedError,
)
from gradnoise_service.study_text import MalformedStudyError

MEDIA_TYPE = "application/problem+json"
MAX_VALUE_CHARACTERS = 300
TAKEN = {"free_name", "study_id"}
"""The fields of a problem whose kind is a taken name."""
COMMON_STATUSES = (401, 403, 408, 421, 429, 500, 503)
"""Statuses that every endpoint may answer with."""


class Fault(BaseModel):
    """A fault in a request."""

    field: str = Field(
        description="Dotted path of the field, as in the request.", examples=["search.n_trials"]
    )
    value: Any = Field(description="The value; null if it is missing.", examples=[0])
    message: str = Field(description="What is wrong.", examples=["0 is too small"])
    legal: str = Field(description="The legal values.", examples=["a whole number, at least 1"])


class Problem(BaseModel):
    """An error, its cause and a remedy."""

    type: str = Field(
        description="Address that describes this kind of problem.",
        examples=["/docs#invalid-study"],
    )
    title: str = Field(
        description="The kind of problem.",
        examples=["The study cannot be run as described"],
    )
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="The cause in this case.")
    hint: str = Field(description="A remedy.")
    errors: list[Fault] = Field(
        default_factory=list, description="The faults of the request, if fields can be named."
    )
    free_name: str | None = Field(
        default=None, description="A free name, if the study's name is taken."
    )
    study_id: int | None = Field(
        default=None, description="The id of the study that has the name, if it is taken."
    )


def problem_of(error: Exception, request: Request | None = None) -> Problem:
    """Return the problem of an error; an unexpected error becomes a 500 without details."""
    if isinstance(error, RequestValidationError):
        body_error = _body_error(error, request)
        if body_error is not None:
            return problem_of(body_error)
        detail = "The request has faults."
        return _problem(KINDS_BY_STATUS[422], detail, request_errors(error.errors()))
    if isinstance(error, HTTPException) and isinstance(
        error.__cause__, ValueError | RecursionError
    ):
        # FastAPI raises it where it cannot decode a body
        return problem_of(MalformedStudyError("the body is no JSON text in UTF-8"))
    if isinstance(error, HTTPException):
        return _problem(kind_of_status(error.status_code, error.detail), error.detail)
    kind = kind_of_error(error)
    if kind.status == 500:
        return _problem(kind, "The service failed unexpectedly; nothing was changed.")
    faults = error.errors if isinstance(error, InvalidSpecError) else ()
    problem = _problem(kind, str(error), faults)
    if isinstance(error, NameTakenError):
        return problem.model_copy(update={"free_name": error.free_name, "study_id": error.study_id})
    return problem


def headers_of(error: Exception, request: Request | None = None) -> dict[str, str]:
    """Return the headers of the response to an error."""
    if isinstance(error, HTTPException) and error.status_code == 405 and request is not None:
        methods = _methods(request)
        return {"Allow": ", ".join(methods)} if methods else dict(error.headers or {})
    if isinstance(error, UnauthenticatedError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, CatalogueEmptyError | DatabaseUnavailableError):
        return {"Retry-After": "2"}
    return dict(error.headers or {}) if isinstance(error, HTTPException) else {}


def problem_response(request: Request, error: Exception) -> Response:
    """Return the response with the problem of an error."""
    problem = problem_of(error, request)
    problem.type = request.scope.get("root_path", "") + problem.type
    return Response(_json(problem), problem.status, headers_of(error, request), MEDIA_TYPE)


def problem_bytes(error: Exception) -> bytes:
    """Return the problem of an error as JSON."""
    return _json(problem_of(error))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of an endpoint's problems: these and the common ones."""
    titles: dict[int, list[str]] = {}
    for kind in (*KINDS_BY_ERROR.values(), *KINDS_BY_STATUS.values()):
        titles.setdefault(kind.status, []).append(kind.title)
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": "; ".join(titles[status]) + ".",
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*statuses, *COMMON_STATUSES})
    }


def _body_error(error: RequestValidationError, request: Request | None) -> Exception | None:
    """Return the error of a body that is no JSON; None if the body, if any, was read."""
    if isinstance(error.body, bytes) and request is not None:
        return unsupported(media_type(request))
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        # the position is an index into the text that FastAPI has read
        return MalformedStudyError(f"{first['ctx']['error']} at character {first['loc'][-1]}")
    if (first["type"], tuple(first["loc"])) == ("missing", ("body",)):
        return MalformedStudyError("the body is empty")
    return None


def media_type(request: Request) -> str:
    """Return the media type of a body, in lower case; empty if it is not declared."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(media_type: str) -> HTTPException:
    """Return the error of a body of this media type."""
    return HTTPException(
        415,
        f"The Content-Type {media_type!r} is not supported."
        if media_type
        else "The Content-Type is missing.",
    )


def _methods(request: Request) -> list[str]:
    """Return the methods of an address: the router names those of one of its routes only."""
    app = request.scope.get("app")
    routes = [route for route in getattr(app, "routes", ()) if not isinstance(route, Mount)]
    found = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found


def _json(problem: Problem) -> bytes:
    excluded = None if problem.free_name else TAKEN
    return json.dumps(problem.model_dump(mode="json", exclude=excluded)).encode()


def _problem(kind: ProblemKind, detail: str, errors: Sequence[FieldFault] = ()) -> Problem:
    if len(errors) > MAX_FAULTS:
        detail = f"More than {MAX_FAULTS} faults; the first {MAX_FAULTS} are listed."
    shown = [
        Fault(field=e.field, value=_shortened(e.value), message=e.message, legal=e.legal)
        for e in errors[:MAX_FAULTS]
    ]
    return Problem(
        type=f"/docs#{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        hint=kind.hint,
        errors=shown,
    )


def _shortened(value: object) -> object:
    text = beginning(value, MAX_VALUE_CHARACTERS, " …")
    return text if text.endswith(" …") else value
