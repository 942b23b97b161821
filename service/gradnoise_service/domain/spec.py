"""StudySpec: the schema of a study, for REST, YAML files, the command line and Python.

What follows from a spec (phases, trials, seeds, looks) is computed by `design.Design`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gradnoise_service.domain.arm import Arm, Recipe, default_arms
from gradnoise_service.domain.budget import Budget
from gradnoise_service.domain.confirm import Confirm
from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.search import LEARNING_SAMPLERS, Search
from gradnoise_service.domain.space import (
    Choices,
    CrossFieldError,
    Number,
    Range,
    Space,
    Strict,
    Whole,
    as_json,
)
from gradnoise_service.domain.webhook import URL_PATTERN

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,79}$"
"""Names of studies and of suites."""
Phase = Literal["search", "rerun", "confirm"]
Judge = Literal["last_epoch", "best_validation_epoch"]

NotifyUrl = Annotated[str, Field(pattern=URL_PATTERN, max_length=500)]


class StudySpec(Strict):
    """One question: does a technique help this workload, when all arms are tuned alike?"""

    name: str = Field(
        pattern=NAME_PATTERN,
        description="Name of the study, unique among those of its owner; not a whole number.",
    )
    description: str = Field(
        default="",
        max_length=2000,
        description="What the study investigates and why, for readers of the report.",
    )
    suite: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        description=(
            "Name of the suite that the study belongs to: studies of the same arms on several "
            "workloads, which get one answer together."
        ),
    )
    workload: str = Field(description="What is trained; `gradnoise workloads` lists the workloads.")
    source: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description=(
            "SHA-256 of the stored code that declares the workload, as `gradnoise run` stores it; "
            "omitted for an installed workload."
        ),
    )
    options: dict[str, object] = Field(
        default_factory=dict,
        description="The workload's options; omitted options have the workload's defaults.",
    )
    optimizer: str = Field(
        default="sgd", description="The optimizer of every arm that names no other."
    )
    objective: str | None = Field(
        default=None,
        description="The metric that decides; the workload's first metric by default.",
    )
    smallest_difference: Number = Field(
        gt=0, description="The smallest difference that matters, in objective units."
    )
    judge: Judge = Field(
        default="last_epoch",
        description=(
            "The epoch whose value counts: the last, or the best on validation, whose value a run "
            "keeps that diverges later."
        ),
    )
    space: Space = Field(
        default_factory=dict,
        description=(
            "Parameters that every arm tunes over the same space. An arm may have others; a "
            "parameter is either here or in arms."
        ),
    )
    arms: list[Arm] = Field(
        default_factory=default_arms,
        min_length=2,
        max_length=10,
        description="The sides of the comparison; the first is the baseline.",
    )
    budget: Budget = Field(
        default_factory=Budget,
        description="What is equal between the arms' searches; and the trials' length in steps.",
    )
    search: Search | None = Field(
        default=None,
        description=(
            "How each arm is tuned. Without it nothing is tuned: every arm runs every combination "
            "of the shared space's values."
        ),
    )
    confirm: Confirm = Field(
        description="The runs that the verdict is about: their seeds, epochs and looks."
    )
    seed: Whole = Field(
        default=0,
        ge=0,
        lt=2**48,
        description=(
            "Every seed of the study derives from it. The same study with another seed repeats the "
            "question on other seeds."
        ),
    )
    max_attempts: Whole = Field(
        default=3,
        ge=1,
        le=10,
        description="Attempts of a trial that raises or loses its worker; then it is a loss.",
    )
    trial_time_limit: Number | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description=(
            "Seconds of training after which a trial ends as a loss, without another attempt; none "
            "by default."
        ),
    )
    trial_stall_limit: Number | None = Field(
        default=3600,
        gt=0,
        le=1e9,
        description=(
            "Seconds without a sign of life after which an attempt fails: without a report, a "
            "print, a checkpoint or a file of a training function, or without an update of a "
            "declared workload; null: none."
        ),
    )
    devices: DeviceChoice = Field(
        default="auto",
        description=(
            "Where trials train: on GPUs (gpu), on CPU cores (cpu), or on both (all); auto: on "
            "GPUs if there are any when the study starts, else on cores."
        ),
    )
    priority: Whole = Field(default=0, ge=-100, le=100, description="Higher runs first.")
    notify: list[NotifyUrl] = Field(
        default_factory=list,
        max_length=5,
        description=(
            "URLs that get a message when the study ends; each is one that the operator allows, or "
            "below one."
        ),
    )

    def recipe(self, arm: Arm) -> Recipe:
        """Return what an arm trains with; its space has the shared parameters first."""
        return Recipe(
            techniques=tuple(arm.techniques),
            optimizer=arm.optimizer or self.optimizer,
            options={**self.options, **arm.options},
            space={**self.space, **arm.space},
        )

    @model_validator(mode="after")
    def _arms_are_distinct(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise CrossFieldError(
                "arms", names, "two arms have the same name", "arms with different names"
            )
        for i, arm in enumerate(self.arms):
            if arm.n_trials is not None and self.search is not None and self.budget.equal != "none":
                message = "a fair comparison tunes all arms with the same number of trials"
                legal = "left out; or `budget: {equal: none}`, the report's first warning"
                raise CrossFieldError(f"arms.{i}.n_trials", arm.n_trials, message, legal)
            for name in sorted(set(arm.space) & set(self.space)):
                message = f"{name} is in the shared space and in that of the arm"
                legal = "left out here or in the shared space"
                raise CrossFieldError(
                    f"arms.{i}.space.{name}", as_json(arm.space[name]), message, legal
                )
        return self

    @model_validator(mode="after")
    def _length_is_in_epochs_or_steps(self) -> Self:
        searched = None if self.search is None else self.search.epochs
        if self.budget.n_reports is None:
            if self.search is not None and searched is None:
                message = "search.epochs is missing"
                legal = "a whole number, at least 1; or a budget of `{steps, report_every}`"
                raise CrossFieldError("search.epochs", None, message, legal)
            return self
        for field, epochs in (("search", searched), ("confirm", self.confirm.epochs)):
            if epochs is not None:
                message = f"the budget is in steps, but {field}.epochs is given"
                legal = "left out; or a budget without steps"
                raise CrossFieldError(f"{field}.epochs", epochs, message, legal)
        return self

    @model_validator(mode="after")
    def _arms_to_drop_leave_others(self) -> Self:
        if self.confirm.drop is not True:
            return self
        if len(self.arms) < 3:
            message = "with two arms, the look that decides an arm ends the study, so none is left"
            raise CrossFieldError("confirm.drop", True, message, "left out; or three arms or more")
        if not self.confirm.looks:
            message = "arms are dropped at declared looks, but the study declares none"
            raise CrossFieldError("confirm.drop", True, message, "left out; or give looks")
        return self

    @model_validator(mode="after")
    def _costs_are_those_of_the_arms(self) -> Self:
        budget, names = self.budget, [arm.name for arm in self.arms]
        if budget.equal == "device_seconds":
            if self.search is None:
                message = "device seconds are those of the search, but the study has none"
                raise CrossFieldError("budget.equal", budget.equal, message, "left out")
            if self.search.sampler == "grid":
                message = "a grid has a number of trials of its own, whatever they cost"
                legal = "another sampler; or `budget: {equal: trials}`"
                raise CrossFieldError("search.sampler", "grid", message, legal)
            if budget.costs and set(budget.costs) != set(names):
                message = "the cost of every arm must be given, and of no other"
                legal = f"a cost of each of {', '.join(names)}; or left out: measured"
                raise CrossFieldError("budget.costs", dict(budget.costs), message, legal)
        elif budget.costs:
            message = f"costs do not count where {budget.equal} are equal"
            legal = "left out; or `equal: device_seconds`"
            raise CrossFieldError("budget.costs", dict(budget.costs), message, legal)
        return self

    @model_validator(mode="after")
    def _anytime_has_one_search(self) -> Self:
        if self.confirm.anytime and self.search is not None and (self.search.repeats or 1) > 1:
            message = "anytime is a verdict on pairs, but repeats makes it one on searches"
            raise CrossFieldError("confirm.anytime", True, message, "false; or repeats: 1")
        return self

    @model_validator(mode="after")
    def _lag_leaves_trials_to_learn_from(self) -> Self:
        lag = None if self.search is None else self.search.lag
        if self.search is None or lag is None:
            return self
        if not self.search.learns:
            message = f"{self.search.sampler} without a pruner learns nothing from earlier trials"
            legal = (
                f"left out; or a sampler that learns ({', '.join(LEARNING_SAMPLERS)}), or a pruner"
            )
            raise CrossFieldError("search.lag", lag, message, legal)
        fewest = min(arm.n_trials or self.search.n_trials for arm in self.arms)
        if lag >= fewest:
            message = f"a lag of {lag} leaves none of {fewest} trials an earlier one to learn from"
            legal = f"a whole number from 1 to {fewest - 1}" if fewest > 1 else "left out"
            raise CrossFieldError("search.lag", lag, message, legal)
        return self

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Self:
        """Without a search, every value must be countable and every arm a single setting."""
        if self.search is not None:
            return self
        if self.confirm.epochs is None and self.budget.n_reports is None:
            message = "`confirm.epochs` is required without `search`"
            legal = "a whole number, at least 1; or give a search"
            raise CrossFieldError("confirm.epochs", None, message, legal)
        for name, entry in self.space.items():
            if isinstance(entry, Range | Choices) and self.confirm.anytime:
                message = f"anytime needs one pair a seed, but every seed has each value of {name}"
                legal = "false; or a single value of each parameter; or give a search"
                raise CrossFieldError("confirm.anytime", True, message, legal)
            if isinstance(entry, Range) and entry.n_points is None:
                message = (
                    f"without `search` every value of {name} is run, but its range is continuous"
                )
                legal = "choices, a range with a step, or one value; or give a search"
                raise CrossFieldError(f"space.{name}", as_json(entry), message, legal)
        for i, arm in enumerate(self.arms):
            for name, entry in arm.space.items():
                if isinstance(entry, Range | Choices):
                    message = f"without `search` an arm's own {name} must be a single value"
                    legal = "one value, and an arm for each of several; or give a search"
                    raise CrossFieldError(f"arms.{i}.space.{name}", as_json(entry), message, legal)
            if arm.n_trials is not None:
                message = "n_trials is a search budget, but the study has no search"
                legal = "left out; or give a search"
                raise CrossFieldError(f"arms.{i}.n_trials", arm.n_trials, message, legal)
        return self
