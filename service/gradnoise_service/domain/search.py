"""Search: the schema of how each arm is tuned."""

import itertools
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gradnoise_service.domain.space import CrossFieldError, Strict, Whole

SamplerName = Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"]
LEARNING_SAMPLERS: tuple[SamplerName, ...] = ("tpe", "gp", "cmaes")
RANDOM_TRIALS: Mapping[SamplerName, int] = {"tpe": 10, "gp": 10, "cmaes": 1}
"""Ended trials that a sampler must see before it uses them; until then it draws at random."""
LARGEST_DEFAULT_LAG = 8
MOST_REPEATS = 20


class Pruner(Strict):
    """When a search trial is ended early; the pruner decides at the rungs only."""

    name: Literal["none", "median", "asha"] = Field(
        default="none", description="The rule; none ends no trial early."
    )
    warmup_epochs: Whole = Field(
        default=1, ge=1, description="The first rung: no trial is pruned before this epoch."
    )
    every_epochs: Whole = Field(default=1, ge=1, description="median: distance between rungs.")
    startup_trials: Whole = Field(
        default=5,
        ge=1,
        description="median: complete trials of the arm that are required before any is pruned.",
    )
    reduction_factor: Whole = Field(
        default=3,
        ge=2,
        description=(
            "asha: one in so many trials is promoted; rung k is at warmup_epochs * factor^k."
        ),
    )

    def rungs(self, n_epochs: int) -> tuple[int, ...]:
        """Return the epochs, below a budget, at which the pruner decides."""
        match self.name:
            case "none":
                return ()
            case "median":
                return tuple(range(self.warmup_epochs, n_epochs, self.every_epochs))
            case "asha":
                rungs = (self.warmup_epochs * self.reduction_factor**k for k in itertools.count())
                return tuple(itertools.takewhile(lambda epoch: epoch < n_epochs, rungs))


class Rerun(Strict):
    """The phase between search and confirm: each arm's best settings are rerun on other seeds.

    The setting with the best mean is chosen. The best of many noisy values is biased upwards
    (winner's curse); a mean over other seeds is not. `top: 1` or `n_seeds: 0` omits the phase: then
    the best value of the search is chosen.
    """

    top: Whole = Field(
        default=3,
        ge=1,
        le=100,
        description="How many of each arm's best settings are rerun; 1 omits the phase.",
    )
    n_seeds: Whole = Field(
        default=3,
        ge=0,
        description="Seeds of each rerun setting, the same for every arm; 0 omits the phase.",
    )
    race: bool = Field(
        default=False,
        description=(
            "Whether a setting that is clearly behind the best one, after 2 seeds or more, is not "
            "rerun on further seeds."
        ),
    )

    @model_validator(mode="after")
    def _race_has_something_to_spare(self) -> Self:
        if self.race and not self.is_on:
            message = "a race needs reruns, which `top: 1` and `n_seeds: 0` omit"
            raise CrossFieldError("race", True, message, "false; or top and n_seeds above these")
        if self.race and self.n_seeds < 3:
            message = (
                "a setting can be dropped after 2 seeds at the earliest, but n_seeds is "
                f"{self.n_seeds}"
            )
            raise CrossFieldError("race", True, message, "false; or n_seeds of at least 3")
        return self

    @property
    def is_on(self) -> bool:
        return self.top > 1 and self.n_seeds > 0


class Search(Strict):
    """The first phase: each arm is tuned separately, all with the same budget."""

    n_trials: Whole = Field(ge=1, description="Trials of each search of an arm.")
    repeats: Whole | None = Field(
        default=None,
        ge=1,
        le=MOST_REPEATS,
        description=(
            "Independent searches of each arm, each with n_trials trials and seeds of its own; "
            "the confirm seeds are divided among them. With several, the verdict is about the "
            "technique when tuned with this budget; with one, about the settings that were found. "
            "By default 3 where confirm has at least 6 seeds (at the first look, or a power with "
            "search_sd), else 1."
        ),
    )
    epochs: Whole | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Epochs of each trial; required unless the budget is in steps.",
    )
    sampler: SamplerName = Field(default="tpe", description="How settings are proposed.")
    pruner: Pruner = Field(
        default_factory=Pruner,
        description="When a search trial is ended early. `pruner: NAME` is the short form.",
    )
    lag: Whole | None = Field(
        default=None,
        ge=1,
        description=(
            "Trial i is proposed, and judged by the pruner, from the trials of its arm below "
            "i - lag alone, so at most lag + 1 trials of an arm run at once. A quarter of "
            "the arm's n_trials by default, at least 1 and at most 8; with equal device seconds, "
            "of the fewest trials of any arm. Only for a sampler that "
            "learns from earlier trials (tpe, gp, cmaes) or with a pruner."
        ),
    )
    rerun: Rerun = Field(
        default_factory=Rerun, description="How each arm's best settings are rerun."
    )

    @property
    def learns(self) -> bool:
        """Whether earlier trials decide what a trial runs."""
        return self.sampler in LEARNING_SAMPLERS or self.pruner.name != "none"

    def lag_of(self, n_trials: int) -> int | None:
        """Return L of a search of n trials: trial i sees those below i - L; None without need."""
        if not self.learns:
            return None
        return self.lag or min(LARGEST_DEFAULT_LAG, max(1, n_trials // 4))

    @field_validator("pruner", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value
