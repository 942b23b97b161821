"""Budget: the schema of a trial's length in steps, and of what is equal between searches."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gradnoise_service.domain.space import CrossFieldError, Number, Strict, Whole

Equal = Literal["trials", "device_seconds", "none"]
Costs = Mapping[str, float]
"""Device time of a search trial of each arm, in any unit."""


class Budget(Strict):
    """How long trials train, if it is in steps, and what every arm's search has in common."""

    equal: Equal = Field(
        default="trials",
        description=(
            "trials: every arm has the search's n_trials. device_seconds: the arm with the "
            "cheapest trials has n_trials, the others as many as take the same device time. none: "
            "an arm may set another n_trials; unequal numbers are the first warning of the report."
        ),
    )
    costs: dict[str, Annotated[Number, Field(gt=0)]] = Field(
        default_factory=dict,
        max_length=10,
        description=(
            "Device time of a search trial of each arm, in any unit, for `device_seconds`; by "
            "default measured before the first trial. With costs, the numbers of trials follow "
            "from the study alone."
        ),
    )
    steps: Whole | None = Field(
        default=None,
        ge=1,
        le=10**12,
        description=(
            "Optimizer updates of each trial, in place of epochs; a multiple of report_every."
        ),
    )
    report_every: Whole | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description=(
            "Updates from one measurement to the next, with steps; each measurement then counts as "
            "an epoch."
        ),
    )

    @property
    def needs_costs(self) -> bool:
        """Whether the costs are to be measured."""
        return self.equal == "device_seconds" and not self.costs

    @property
    def n_reports(self) -> int | None:
        """The measurements of each trial; None with a budget in epochs."""
        if self.steps is None or self.report_every is None:
            return None
        return self.steps // self.report_every

    @model_validator(mode="after")
    def _steps_are_reported(self) -> Self:
        if self.steps is None and self.report_every is not None:
            message = "report_every counts steps, but the budget has none"
            raise CrossFieldError("report_every", self.report_every, message, "left out; or steps")
        if self.steps is not None and self.report_every is None:
            message = "with steps, report_every is missing"
            legal = f"a whole number that divides {self.steps}"
            raise CrossFieldError("report_every", None, message, legal)
        if self.steps is not None and self.report_every and self.steps % self.report_every:
            message = f"report_every must divide the {self.steps} steps"
            legal = f"a whole number that divides {self.steps}"
            raise CrossFieldError("report_every", self.report_every, message, legal)
        return self


def affordable(n_trials: int, costs: Costs, arm: str) -> int:
    """Return how many trials of an arm take the device time of n_trials of the cheapest arm.

    It is n_trials / c, rounded, at least 1, where c is the arm's cost divided by the smallest.

    >>> affordable(30, {"baseline": 1.0, "adam": 1.5}, "adam")
    20
    """
    return max(1, round(n_trials * min(costs.values()) / costs[arm]))
