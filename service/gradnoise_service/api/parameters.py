"""Path, query and header parameters that several endpoints share."""

from typing import Annotated

from fastapi import Header, Path, Query

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
StudyId = Annotated[int, Path(ge=1, le=MAX_ID, description="The study's id.")]
TrialId = Annotated[int, Path(ge=1, le=MAX_ID, description="The trial's id.")]
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
