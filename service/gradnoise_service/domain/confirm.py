"""The confirm phase of a spec: its seeds, epochs and looks."""

import itertools
from typing import Literal, Self

from pydantic import Field, model_validator

from gradnoise_service.domain.space import CrossFieldError, Number, Strict, Whole

Boundary = Literal["pocock", "obrien_fleming"]


class Power(Strict):
    """The probability of detecting a gain of the smallest difference; determines n_seeds."""

    power: Number = Field(default=0.8, gt=0, lt=1, description="Probability of detection.")
    sd: Number = Field(
        gt=0,
        description="Expected standard deviation of the paired differences, in objective units.",
    )
    search_sd: Number | None = Field(
        default=None,
        gt=0,
        description=(
            "Expected standard deviation of an arm's mean between independent searches, in "
            "objective units; required with repeats."
        ),
    )


class Confirm(Strict):
    """The last phase: each arm's chosen setting is run on fresh seeds, the same for every arm."""

    n_seeds: Whole = Field(
        default=0,
        ge=2,
        le=1_000_000,
        description="Paired seeds; each arm runs once on each. Give this, or power.",
    )
    power: Power | None = Field(
        default=None, description="Determines n_seeds where that is not given."
    )
    epochs: Whole | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Epochs of each confirm run; those of the search by default.",
    )
    keep_weights: Literal["none", "best", "all"] = Field(
        default="none",
        description=(
            "Confirm runs whose weights are kept as the file weights.pt: none, the best of each "
            "arm, or all."
        ),
    )
    thresholds: list[Number] = Field(
        default_factory=list,
        max_length=10,
        description="The report counts the runs that reach each threshold, in objective units.",
    )
    looks: list[Whole] = Field(
        default_factory=list,
        max_length=10,
        description=(
            "Interim numbers of seeds, rising and below n_seeds, at which a verdict is taken; a "
            "decisive verdict on every arm ends the study."
        ),
    )
    drop: bool | None = Field(
        default=None,
        description=(
            "With three arms or more: whether an arm stops at the look that decides it, or that "
            "excludes a gain that matters, while the others continue. True where looks are "
            "declared."
        ),
    )
    boundary: Boundary = Field(
        default="obrien_fleming",
        description=(
            "How the error probability is spread over the looks: evenly (pocock), or mostly on "
            "the last (obrien_fleming)."
        ),
    )
    anytime: bool = Field(
        default=False,
        description=(
            "Whether interval and test are valid at every number of seeds and under any extension; "
            "this needs more seeds. Cannot be changed later."
        ),
    )

    @property
    def keeps_weights(self) -> bool:
        return self.keep_weights != "none"

    @model_validator(mode="after")
    def _has_seeds(self) -> Self:
        if self.n_seeds == 0 and self.power is None:
            raise CrossFieldError(
                "n_seeds",
                None,
                "n_seeds and power are both missing",
                "a whole number, at least 2; or give a power",
            )
        if len(set(self.thresholds)) != len(self.thresholds):
            raise CrossFieldError(
                "thresholds",
                self.thresholds,
                "thresholds must be unique",
                "at most 10 different numbers",
            )
        return self

    @model_validator(mode="after")
    def _looks_rise(self) -> Self:
        below = f" and below n_seeds = {self.n_seeds}" if self.n_seeds else ""
        legal = f"whole numbers, rising, at least 2{below}"
        if any(now <= before for before, now in itertools.pairwise([1, *self.looks])):
            raise CrossFieldError("looks", self.looks, "looks must rise", legal)
        if self.looks and self.n_seeds and self.looks[-1] >= self.n_seeds:
            message = f"looks must be below n_seeds, but got {self.looks[-1]}"
            raise CrossFieldError("looks", self.looks, message, legal)
        return self

    @model_validator(mode="after")
    def _anytime_is_alone(self) -> Self:
        if self.anytime and self.looks:
            message = "every number of seeds is a look, so anytime and looks exclude each other"
            raise CrossFieldError("anytime", True, message, "false; or leave out looks")
        if self.anytime and self.power is not None:
            message = "power computes the seeds of a single verdict, which are too few for anytime"
            raise CrossFieldError("anytime", True, message, "false; or n_seeds in place of power")
        return self
