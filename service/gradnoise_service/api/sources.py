"""Endpoints of the code of studies, where the operator allows it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator

from gradnoise_service.api.auth import Coder, Reader
from gradnoise_service.api.body import storage_faults
from gradnoise_service.api.parameters import StudyId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.source import Source
from gradnoise_service.usecases import sources

router = APIRouter(prefix="/v1", tags=["code"])


class SourceIn(BaseModel, extra="forbid"):
    """Code to store: a file, with the modules that it imports from its folder."""

    name: str = Field(pattern=r"^[^/\x00]{1,252}\.py$", description="Name of the file.")
    files: dict[Annotated[str, Field(pattern=r"^[^\x00]{1,500}\.py$")], str] = Field(
        min_length=1,
        max_length=1000,
        description="The text of each file, by its path relative to the folder.",
    )
    folder: str = Field(
        max_length=1000, description="The folder; the code runs there if workers have it."
    )
    announced: dict[Literal["workloads", "techniques", "optimizers"], list[dict[str, Any]]] = Field(
        description="What the code declares, as a catalogue lists it."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.name not in self.files:
            raise ValueError(f"files must contain {self.name!r}")
        return self

    def source(self) -> Source:
        """Return the code; raises InvalidSpecError if a database cannot store it."""
        values = self.model_dump()
        faults = storage_faults(values)
        if faults:
            raise InvalidSpecError(faults)
        return Source(**values)


class SourceOut(BaseModel):
    """The code of a study."""

    name: str
    hash: str = Field(description="SHA-256 over names and texts; studies name it as `source`.")
    files: Mapping[str, str]
    folder: str

    @classmethod
    def of(cls, source: Source) -> "SourceOut":
        return cls(name=source.name, hash=source.hash, files=source.files, folder=source.folder)


@router.post(
    "/sources",
    status_code=201,
    summary="Store code for a study",
    responses=documented(400, 413, 415, 422),
)
def store(caller: Coder, body: SourceIn, service: CurrentService) -> SourceOut:
    """Store code under its hash, which a study then names as `source`.

    The service must allow code (`GRADNOISE_ALLOW_CODE=submitters`), and the token needs the scope
    `code`.
    """
    source = body.source()
    sources.keep(service, caller, source)
    return SourceOut.of(source)


@router.get(
    "/studies/{study_id}/source",
    summary="Show the code of a study",
    responses=documented(404, 422),
)
def of_study(caller: Reader, service: CurrentService, study_id: StudyId) -> SourceOut:
    """Return the code that declares the study's workload; 404 for an installed workload."""
    return SourceOut.of(sources.of_study(service, caller, study_id))
