"""What owners note on their studies, and what a list of studies is filtered by."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator

from gradnoise_service.domain.plain_text import plain
from gradnoise_service.domain.space import Strict
from gradnoise_service.domain.study import StudyState, Verdict

TAG_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,39}$"
Tag = Annotated[str, Field(pattern=TAG_PATTERN)]


class Remarks(Strict):
    """The tags and the note of a study; what is omitted stays as it is."""

    tags: list[Tag] | None = Field(
        default=None,
        max_length=20,
        description="All tags of the study, in place of those that it has; the order is by name.",
    )
    note: str | None = Field(
        default=None, max_length=10_000, description="The note, in place of the one that it has."
    )

    @field_validator("note")
    @classmethod
    def _is_plain(cls, note: str | None) -> str | None:
        if note is not None and note != plain(note):
            raise ValueError("text without control characters other than line ends and tabs")
        return note


@dataclass(frozen=True, kw_only=True)
class StudyFilter:
    """Which studies a list has; a condition that is None admits every study.

    Args:
        name: The whole name, which is unique among the studies of an owner.
        owner: Of the studies; it admits none that the caller may not see.
        text: A part of the name, of the note or of a tag; ASCII letters match in either case.
    """

    name: str | None = None
    state: StudyState | None = None
    verdict: Verdict | None = None
    workload: str | None = None
    owner: str | None = None
    tag: str | None = None
    text: str | None = None
