"""SuiteFile: the studies of a suite in one file, which share fields such as their arms."""

from typing import Any

from pydantic import Field

from gradnoise_service.domain.space import Strict
from gradnoise_service.presets.paper_table import merged


class SuiteFile(Strict):
    """The studies of a suite: each merges the shared `study` with its own fields."""

    suite: str
    description: str = ""
    study: dict[str, Any] = Field(default_factory=dict)
    studies: list[dict[str, Any]] = Field(min_length=2)

    def members(self) -> list[dict[str, Any]]:
        """Return the studies as plain values of StudySpec."""
        shared = {"description": self.description} | self.study
        return [merged(shared, study, {"suite": self.suite}) for study in self.studies]
