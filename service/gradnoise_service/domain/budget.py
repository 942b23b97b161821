"""Budget: the schema of a trial's length in steps, and of what is equal between searches."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gradnoise_service.domain.space import CrossFieldError, Strict, Whole

Equal = Literal["trials", "none"]


class Budget(Strict):
    """How long trials train, if it is in steps, and what every arm's search has in common."""

    equal: Equal = Field(
        default="trials",
        description=(
            "trials: every arm has the search's n_trials. none: an arm may set another n_trials; "
            "unequal numbers are the first warning of the report."
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
