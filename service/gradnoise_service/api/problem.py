"""Every error as application/problem+json (RFC 9457): one table from what went wrong to status,
title and what to do about it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gradnoise_service.api.validation import request_errors
from gradnoise_service.domain.errors import (
    CatalogueEmptyError,
    ConflictError,
    FieldFault,
    ForbiddenError,
    IdempotencyMismatchError,
    InvalidSpecError,
    LeaseLostError,
    NameTakenError,
    NotFoundError,
    ReportNotReadyError,
    StudyFinishedError,
    StudyNotCompleteError,
    UnauthenticatedError,
)
from gradnoise_service.study_file import MalformedStudyError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 50
MAX_VALUE_CHARACTERS = 300


class Fault(BaseModel):
    """One fault in a request."""

    field: str = Field(
        description="Dotted path of the field, as the request wrote it.",
        examples=["search.n_trials"],
    )
    value: Any = Field(description="The value it had, null where it was missing.", examples=[0])
    message: str = Field(description="What is wrong with it.", examples=["0 is too small"])
    legal: str = Field(description="What would be legal.", examples=["a whole number, at least 1"])


class Problem(BaseModel):
    """What went wrong and what to do about it."""

    type: str = Field(
        description="Names the kind of problem; explained at this address of the service.",
        examples=["/docs#invalid-study"],
    )
    title: str = Field(
        description="The kind of problem, in words.",
        examples=["The study cannot be run as described"],
    )
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="What went wrong this time.")
    hint: str = Field(description="What to do about it.")
    errors: list[Fault] = Field(
        default_factory=list, description="The faults, where there are fields to name."
    )
    free_name: str | None = Field(
        default=None, description="A name that is free, where the study's is taken."
    )


@dataclass(frozen=True)
class Kind:
    """A row of the table."""

    status: int
    slug: str
    title: str
    hint: str


OF_ERROR: Mapping[type[Exception], Kind] = {
    NotFoundError: Kind(
        404,
        "not-found",
        "There is no such thing",
        "List what there is; another owner's studies are not shown.",
    ),
    InvalidSpecError: Kind(
        422,
        "invalid-study",
        "The study cannot be run as described",
        "Correct the fields named under errors; nothing was stored.",
    ),
    MalformedStudyError: Kind(
        400,
        "malformed",
        "The body cannot be read",
        "Send one JSON object, or YAML with Content-Type: application/yaml.",
    ),
    UnauthenticatedError: Kind(
        401,
        "unauthenticated",
        "A token is needed",
        "Log in at /login, or send Authorization: Bearer TOKEN.",
    ),
    ForbiddenError: Kind(
        403,
        "forbidden",
        "The token does not allow this",
        "Ask an administrator for a token with this scope.",
    ),
    CatalogueEmptyError: Kind(
        503,
        "no-workers",
        "No worker is there yet",
        "Wait until a worker has started; /readyz says what is missing.",
    ),
    ConflictError: Kind(
        409,
        "conflict",
        "The state does not allow this",
        "Look at the state as it is now, then decide anew.",
    ),
    NameTakenError: Kind(
        409,
        "name-taken",
        "The name is taken",
        "Send the study under the name in free_name, or one of your own.",
    ),
    StudyFinishedError: Kind(
        409,
        "study-finished",
        "The study has ended",
        "Submit a new study; this one keeps its result.",
    ),
    StudyNotCompleteError: Kind(
        409,
        "not-complete",
        "The study is not complete",
        "Wait for its end; what failed or was cancelled starts anew.",
    ),
    IdempotencyMismatchError: Kind(
        409,
        "key-reused",
        "The Idempotency-Key was used for something else",
        "Send each study, and each extension, with a key of its own.",
    ),
    ReportNotReadyError: Kind(
        409,
        "report-not-ready",
        "There is nothing to report yet",
        "Wait until the first trial has ended; watch /progress.",
    ),
    LeaseLostError: Kind(
        409, "lease-lost", "The study has changed hands", "Read the study again, then decide anew."
    ),
}
"""One row for each class of the domain's error tree; a subclass without its own is a mistake that a
test finds.
"""

OF_STATUS: Mapping[int, Kind] = {
    403: Kind(
        403,
        "cross-site",
        "The request came from another site",
        "Send it from a page of this service, or from a program.",
    ),
    404: Kind(
        404, "no-such-page", "There is nothing at this address", "/docs lists every address."
    ),
    405: Kind(
        405,
        "method",
        "This address does not take that method",
        "/docs lists the methods of every address.",
    ),
    406: Kind(
        406,
        "not-acceptable",
        "There is no such format",
        "Ask for application/json, text/html or text/markdown.",
    ),
    413: Kind(
        413,
        "too-large",
        "The body is too large",
        "Send a smaller study, or raise GRADNOISE_MAX_BODY_BYTES.",
    ),
    415: Kind(
        415,
        "media-type",
        "This kind of body is not read",
        "Send Content-Type: application/json or application/yaml.",
    ),
    421: Kind(
        421,
        "unknown-host",
        "The service does not go by this name",
        "Add the name to GRADNOISE_ALLOWED_HOSTS, or use the address.",
    ),
    422: Kind(
        422, "invalid-request", "The request has a fault", "Correct what is named under errors."
    ),
    429: Kind(
        429,
        "too-many-requests",
        "Too many requests",
        "Wait for as many seconds as Retry-After says.",
    ),
    500: Kind(
        500,
        "internal",
        "The service failed",
        "Try again; if it stays, the service's log tells what happened.",
    ),
}


def problem_of(error: Exception) -> Problem:
    """Return an error as a problem; anything that is not the caller's doing becomes a 500 that
    tells nothing of our inside.
    """
    if isinstance(error, RequestValidationError):
        return _problem(OF_STATUS[422], "The request has a fault.", request_errors(error.errors()))
    if isinstance(error, HTTPException):
        kind = OF_STATUS.get(error.status_code) or Kind(
            error.status_code, "http", error.detail, "/docs says what this address takes."
        )
        return _problem(kind, error.detail)
    kind = next((OF_ERROR[cls] for cls in type(error).__mro__ if cls in OF_ERROR), OF_STATUS[500])
    if kind is OF_STATUS[500]:
        return _problem(kind, "An error of the service itself; nothing was changed.")
    problem = _problem(
        kind, str(error), error.errors if isinstance(error, InvalidSpecError) else ()
    )
    return (
        problem.model_copy(update={"free_name": error.free_name})
        if isinstance(error, NameTakenError)
        else problem
    )


def headers_of(error: Exception) -> dict[str, str]:
    """Return the headers that belong to the answer to an error."""
    if isinstance(error, UnauthenticatedError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, CatalogueEmptyError):
        return {"Retry-After": "2"}
    return dict(error.headers or {}) if isinstance(error, HTTPException) else {}


def answer(_request: Request, error: Exception) -> Response:
    """Answer with the problem that an error is."""
    problem = problem_of(error)
    values = problem.model_dump(mode="json", exclude=None if problem.free_name else {"free_name"})
    return JSONResponse(values, problem.status, headers=headers_of(error), media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of the problems that an endpoint answers with, beside those of
    every endpoint.
    """
    titles: dict[int, list[str]] = {}
    for kind in (*OF_ERROR.values(), *OF_STATUS.values()):
        titles.setdefault(kind.status, []).append(kind.title)
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": "; ".join(titles[status]) + ".",
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*statuses, 401, 403, 421, 429, 500})
    }


def _problem(kind: Kind, detail: str, errors: Sequence[FieldFault] = ()) -> Problem:
    shown = [
        Fault(field=e.field, value=_short(e.value), message=e.message, legal=e.legal)
        for e in errors[:MAX_ERRORS]
    ]
    if len(errors) > MAX_ERRORS:
        detail = f"{len(errors)} faults; the first {MAX_ERRORS} are named."
    return Problem(
        type=f"/docs#{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        hint=kind.hint,
        errors=shown,
    )


def _short(value: object) -> object:
    text = json.dumps(value, default=str)
    return value if len(text) <= MAX_VALUE_CHARACTERS else text[:MAX_VALUE_CHARACTERS] + " …"
