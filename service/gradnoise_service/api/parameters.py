"""Path, query and header parameters that several endpoints share."""

import re
from typing import Annotated

from fastapi import Header, Path, Query
from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

from gradnoise_service.domain.spec import NAME_PATTERN

MAX_ID = 2**31 - 1
"""The largest id, as PostgreSQL stores it."""

SuiteName = Annotated[str, Path(pattern=NAME_PATTERN, description="The suite's name.")]
SuiteOwner = Annotated[
    str | None,
    Query(
        alias="owner",
        max_length=80,
        description="The suite's owner, for administrators: several owners may have the name.",
    ),
]


def _whole(text: str) -> str:
    """Refuse what pydantic would read as a whole number too, such as 1.0, a study's legal name."""
    if not re.fullmatch("-?[0-9]+", text):
        raise PydanticKnownError("int_parsing")
    return text


Id = Annotated[int, BeforeValidator(_whole)]
StudyId = Annotated[Id, Path(ge=1, le=MAX_ID, description="The study's id.")]
TrialId = Annotated[Id, Path(ge=1, le=MAX_ID, description="The trial's id.")]
OfTrial = Annotated[
    int | None, Query(ge=1, le=MAX_ID, description="Only of the trial with this id.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Identifies this request: a repetition with the same key has no effect.",
    ),
]
