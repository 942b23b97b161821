"""PaperTable: a preset with a study for each row of a table of the paper, at several scales."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gradnoise_service.domain.space import Strict

FULL = "full"
"""The scale of the paper's design; studies at this scale have no suffix in their name."""
LONG = "long"
"""The scale with longer training than the full one, for a comparison of training lengths."""


class PaperFigures(Strict):
    """Figures that the paper prints for a row, by arm, in the unit of the objective.

    `best` and `mean` are values over the runs; `reached` is the share of runs that reached
    `threshold`.
    """

    statistic: Literal["best", "mean", "reached"]
    values: dict[str, float] = Field(min_length=1)
    threshold: float | None = None
    runs: int | None = Field(
        default=None, ge=1, description="Number of runs of each arm in the paper."
    )
    split: Literal["train", "validation", "test"] = Field(
        default="test", description="The data of the paper's measurement."
    )
    source: str | None = Field(
        default=None, description="Place in the paper, if other than the table of this preset."
    )

    @model_validator(mode="after")
    def _threshold_matches_statistic(self) -> Self:
        if (self.threshold is None) == (self.statistic == "reached"):
            raise ValueError(
                "threshold is required with the statistic reached and illegal with any other, but "
                f"got {self.statistic=}, {self.threshold=}"
            )
        return self


class TableRow(Strict):
    """A study of a table: its differences from the shared study, and the paper's figures."""

    name: str
    title: str
    paper: list[PaperFigures] = Field(default_factory=list)
    study: dict[str, Any] = Field(default_factory=dict)
    scales: dict[str, dict[str, Any]] = Field(default_factory=dict)


class PaperTable(Strict):
    """The studies of a table of the paper.

    A row's study at a scale merges four parts, each over the previous: the table's study, the row's
    study, the table's scale and the row's scale.
    """

    name: str
    description: str
    study: dict[str, Any]
    rows: list[TableRow] = Field(min_length=1)
    scales: dict[str, dict[str, Any]]
    updates_per_epoch: int | None = Field(
        default=None, ge=1, description="For training lengths in updates; required with `long`."
    )

    @model_validator(mode="after")
    def _rows_and_scales_are_consistent(self) -> Self:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError(f"rows must have different names, but got {names}")
        if self.scales.get(FULL) != {}:
            raise ValueError(
                f"the scale {FULL!r} is required and must be empty, but got {self.scales.get(FULL)}"
            )
        if LONG in self.scales and self.updates_per_epoch is None:
            raise ValueError(f"updates_per_epoch is required with the scale {LONG!r}")
        for row in self.rows:
            if unknown := sorted(set(row.scales) - (set(self.scales) - {FULL})):
                raise ValueError(
                    f"row {row.name!r} has the scales {unknown}, which the table does not have or "
                    "which must be empty"
                )
        return self

    def study_name(self, row: TableRow, scale: str) -> str:
        """Return the name of a row's study at a scale."""
        return " ".join((self.name, row.name, *(() if scale == FULL else (scale,))))

    def studies(self, scale: str) -> list[dict[str, Any]]:
        """Return the study of each row as plain values of StudySpec."""
        return [
            {"name": self.study_name(row, scale), "description": self.description}
            | merged(self.study, row.study, self.scales[scale], row.scales.get(scale, {}))
            for row in self.rows
        ]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values merged from left to right: mappings key by key, anything else replaced.

    >>> merged({"space": {"lr": 0.1}, "seed": 1}, {"space": {"clip_norm": 10.0}}, {"seed": 2})
    {'space': {'lr': 0.1, 'clip_norm': 10.0}, 'seed': 2}
    """
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            before = result.get(key)
            both_mappings = isinstance(before, Mapping) and isinstance(value, Mapping)
            result[key] = merged(before, value) if both_mappings else value  # type: ignore[arg-type]
    return result
