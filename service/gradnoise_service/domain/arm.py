"""Arm: the schema of one side of the comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from gradnoise_service.domain.space import Choices, CrossFieldError, Range, Space, Strict, Whole


class Arm(Strict):
    """One side of the comparison: a recipe of training, with its own search space."""

    model_config = ConfigDict(
        json_schema_extra=lambda schema: schema["properties"].update(
            technique={
                "type": "string",
                "title": "Technique",
                "description": "Short form of `techniques` with a single entry.",
            }
        )
    )

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$",
        description="Name of the arm, unique in the study.",
    )
    techniques: list[str] = Field(
        min_length=1,
        max_length=10,
        description=(
            "What the arm does to training, combined; `gradnoise workloads` lists the techniques. "
            "`technique: NAME` is the short form of a list of one."
        ),
    )
    optimizer: str | None = Field(
        default=None, description="The arm's optimizer; the study's by default."
    )
    options: dict[str, object] = Field(
        default_factory=dict,
        description="Options of the workload for this arm, in addition to the study's.",
    )
    space: Space = Field(
        default_factory=dict,
        description=(
            "Parameters of this arm, in addition to the shared space: of its techniques, its "
            "optimizer or the workload."
        ),
    )
    n_trials: Whole | None = Field(
        default=None,
        ge=1,
        description="Search trials of this arm alone; requires `budget: {equal: none}`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "technique" not in values:
            return values
        if "techniques" in values:
            raise CrossFieldError(
                "techniques",
                values["techniques"],
                "technique and techniques exclude each other",
                "left out, or given without technique",
            )
        others = {name: value for name, value in values.items() if name != "technique"}
        return {**others, "techniques": [values["technique"]]}

    @field_validator("techniques")
    @classmethod
    def _are_unique(cls, techniques: list[str]) -> list[str]:
        if len(set(techniques)) != len(techniques):
            raise CrossFieldError(
                "", techniques, "techniques must be unique", "a list of different techniques"
            )
        return techniques


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an arm trains with: its own choices and what it shares with the other arms."""

    techniques: tuple[str, ...]
    optimizer: str
    options: Mapping[str, object]
    space: Space


def default_arms() -> list[Arm]:
    """Return the paper's comparison: plain training against annealed gradient noise."""
    noise: Space = {
        "eta": Choices(choices=[0.01, 0.3, 1.0]),
        "gamma": Range(low=0.3, high=0.9),
    }
    return [
        Arm(name="baseline", techniques=["none"]),
        Arm(name="noisy", techniques=["annealed"], space=noise),
    ]
