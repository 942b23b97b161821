"""Table: a preset of several studies, one for each row of a table of the paper, at several scales."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gradnoise_service.domain.spec import Strict

FULL = "full"
"""The scale at which every row is what `study` and the row's own part say, and has the name of the
row alone.
"""


class Figures(Strict):
    """What the paper prints for a row, by arm, in the objective's own unit: the best or mean value
    of the runs, or the share of them that came to `threshold`.
    """

    statistic: Literal["best", "mean", "reached"]
    values: dict[str, float] = Field(min_length=1)
    threshold: float | None = None
    runs: int | None = Field(
        default=None, ge=1, description="How many runs of each arm the paper counts."
    )
    split: Literal["train", "validation", "test"] = Field(
        default="test", description="On what the paper measured."
    )
    source: str | None = Field(
        default=None, description="Where it stands, if not in the table of this preset."
    )

    @model_validator(mode="after")
    def _has_a_threshold_to_reach(self) -> Self:
        if (self.threshold is None) == (self.statistic == "reached"):
            raise ValueError(
                "a threshold belongs to the statistic reached and to no other, but got "
                f"{self.statistic=}, {self.threshold=}"
            )
        return self


class Row(Strict):
    """One study: what it has of its own, over what all rows share, and what the paper says of it."""

    name: str
    title: str
    paper: list[Figures] = Field(default_factory=list)
    study: dict[str, Any] = Field(default_factory=dict)
    scales: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Table(Strict):
    """The studies of a table; a row at a scale is, merged in turn, the shared part, the row's, the
    scale's and the row's at it.
    """

    name: str
    description: str
    study: dict[str, Any]
    rows: list[Row] = Field(min_length=1)
    scales: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError(f"rows must have different names, but got {names}")
        if self.scales.get(FULL) != {}:
            raise ValueError(
                f"the scale {FULL!r} must be there and change nothing, but got "
                f"{self.scales.get(FULL)}"
            )
        for row in self.rows:
            if beyond := sorted(set(row.scales) - (set(self.scales) - {FULL})):
                raise ValueError(
                    f"row {row.name!r} has the scales {beyond}, which the table does not have or "
                    "which change nothing"
                )
        return self

    def study_name(self, row: Row, scale: str) -> str:
        """Return the name of a row's study at a scale."""
        return " ".join((self.name, row.name, *(() if scale == FULL else (scale,))))

    def studies(self, scale: str) -> list[dict[str, Any]]:
        """Return the plain values of a StudySpec for each row."""
        return [
            {"name": self.study_name(row, scale), "description": self.description}
            | merged(self.study, row.study, self.scales[scale], row.scales.get(scale, {}))
            for row in self.rows
        ]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with those of each further part over them: mappings merge key by key,
    anything else replaces.

    >>> merged({"space": {"lr": 0.1}, "seed": 1}, {"space": {"clip_norm": 10.0}}, {"seed": 2})
    {'space': {'lr': 0.1, 'clip_norm': 10.0}, 'seed': 2}
    """
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            before = whole.get(key)
            whole[key] = (
                merged(before, value)
                if isinstance(before, Mapping) and isinstance(value, Mapping)
                else value
            )
    return whole
