"""StudySpec: the one definition of a study, for REST, YAML files, the command line and Python."""

import hashlib
import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

Number = Annotated[float, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Value = Number | Whole | str
"""What a parameter may be; `true` is no number."""

MAX_STEPS = 2**53
SamplerName = Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"]
Phase = Literal["search", "rerun", "confirm"]


class CrossFieldError(ValueError):
    """A field's value is not legal beside those of other fields; says which, and what would be."""

    def __init__(self, field: str, value: object, message: str, legal: str) -> None:
        self.field = field
        self.value = value
        self.message = message
        self.legal = legal
        super().__init__(f"{field}: {message}; legal is {legal}")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(Strict):
    """Numbers from low to high: uniform, log-uniform, in steps, or whole."""

    low: Number = Field(description="Smallest value, included.")
    high: Number = Field(description="Largest value, included; above low.")
    log: bool = Field(
        default=False, description="Search on a logarithmic scale; low must then be above 0."
    )
    step: Number | None = Field(
        default=None, gt=0, description="Distance between values; not together with log."
    )
    integer: bool = Field(default=False, description="Whole numbers only.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(
                f"low must be below high, but got low={self.low:g} and high={self.high:g}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low above 0, but got low={self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other: give one of them")
        if self.integer and any(
            x is not None and x != int(x) for x in (self.low, self.high, self.step)
        ):
            raise ValueError("an integer range needs whole numbers for low, high and step")
        if self.step is not None:
            n_steps = (self.high - self.low) / self.step
            if n_steps > MAX_STEPS or abs(n_steps - round(n_steps)) > 1e-9 * max(1.0, n_steps):
                bounds = f"low={self.low:g}, high={self.high:g}, step={self.step:g}"
                raise ValueError(
                    f"high must be low plus a whole number of steps, at most 2^53, but got {bounds}"
                )
        return self

    @property
    def n_points(self) -> int | None:
        """How many values the range has, None where they cannot be counted."""
        step = self._step
        return None if step is None else round((self.high - self.low) / step) + 1

    def points(self) -> Iterator[Value]:
        """Yield the values in order.

        Raises:
            ValueError: If they cannot be counted.
        """
        step = self._step
        if step is None or self.n_points is None:
            raise ValueError(
                f"the values from {self.low:g} to {self.high:g} cannot be counted without a step"
            )
        for i in range(self.n_points):
            yield int(self.low + i * step) if self.integer else self.low + i * step

    @property
    def _step(self) -> float | None:
        return self.step or (1.0 if self.integer and not self.log else None)


class Choices(Strict):
    """One of a list of values, without order."""

    choices: list[Value] = Field(
        min_length=1, max_length=100, description="The legal values, each once."
    )

    @field_validator("choices")
    @classmethod
    def _each_once(cls, choices: list[Value]) -> list[Value]:
        if len(set(choices)) != len(choices):
            raise ValueError(f"each choice may stand only once, but got {choices}")
        return choices

    @property
    def n_points(self) -> int:
        return len(self.choices)

    def points(self) -> Iterator[Value]:
        yield from self.choices


Parameter = Range | Choices | Value
"""A range, a list of choices, or a plain value that stays fixed."""

Space = Annotated[dict[str, Parameter], Field(max_length=50)]


class Arm(Strict):
    """One side of the comparison."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$",
        description="Name of the arm, unique in the study; no phase's.",
    )
    technique: str = Field(
        description="What the arm does to training; `gradnoise workloads` lists the techniques."
    )
    space: Space = Field(
        default_factory=dict, description="The technique's own parameters, beside the shared space."
    )
    n_trials: Whole | None = Field(
        default=None,
        ge=1,
        description="Search trials of this arm alone; only with `budget: unequal`.",
    )


class Pruner(Strict):
    """When a search trial is ended early; it is asked only at the rungs."""

    name: Literal["none", "median", "asha"] = "none"
    warmup_epochs: Whole = Field(
        default=1, ge=1, description="First rung: no trial is ended before this epoch."
    )
    every_epochs: Whole = Field(default=1, ge=1, description="median: distance between rungs.")
    startup_trials: Whole = Field(
        default=5,
        ge=1,
        description="median: trials of the arm that must be complete before any is ended.",
    )
    reduction_factor: Whole = Field(
        default=3,
        ge=2,
        description="asha: one in so many trials passes a rung; rung k lies at warmup_epochs * factor^k.",
    )

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs, below the budget, at which the pruner is asked."""
        if self.name == "median":
            return tuple(range(self.warmup_epochs, epochs, self.every_epochs))
        if self.name == "asha":
            powers = (self.warmup_epochs * self.reduction_factor**k for k in itertools.count())
            return tuple(itertools.takewhile(lambda epoch: epoch < epochs, powers))
        return ()


class Rerun(Strict):
    """Between search and confirm: each arm's best settings run again on other seeds, and the best
    of their means is chosen.

    The best of many noisy values was lucky as well as good (the winner's curse); other seeds do not
    share its luck. `top: 1` or `n_seeds: 0` leaves the phase out: the search's best is then taken
    as it is.
    """

    top: Whole = Field(
        default=3,
        ge=1,
        le=100,
        description="How many of each arm's settings run again, the best on validation; 1: none does.",
    )
    n_seeds: Whole = Field(
        default=3,
        ge=0,
        description="Seeds on which each of them runs again, the same for every arm; 0: none does.",
    )

    @property
    def is_on(self) -> bool:
        return self.top > 1 and self.n_seeds > 0


class Search(Strict):
    """The first phase: each arm tuned alone, all with this same budget."""

    n_trials: Whole = Field(ge=1, description="Trials of each arm.")
    epochs: Whole = Field(ge=1, le=1_000_000, description="Epochs of each trial.")
    sampler: SamplerName = Field(default="tpe", description="How settings are proposed.")
    pruner: Pruner = Field(default_factory=Pruner)
    rerun: Rerun = Field(default_factory=Rerun)

    @field_validator("pruner", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class Power(Strict):
    """The chance with which a technique that gains the smallest difference is to be found, from
    which the number of seeds follows.
    """

    power: Number = Field(default=0.8, gt=0, lt=1, description="The chance to find it.")
    sd: Number = Field(
        gt=0,
        description=(
            "Standard deviation, expected beforehand, of the paired differences; in the "
            "objective's units."
        ),
    )


class Confirm(Strict):
    """The last phase: each arm's chosen setting rerun on fresh seeds, the same for every arm."""

    n_seeds: Whole = Field(
        default=0,
        ge=2,
        le=1_000_000,
        description="Paired seeds; each arm runs once on each. Give this, or power.",
    )
    power: Power | None = Field(
        default=None, description="From which n_seeds is computed, where it is not given."
    )
    epochs: Whole | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Epochs of each rerun; the search's by default.",
    )
    thresholds: list[Number] = Field(
        default_factory=list,
        max_length=10,
        description="The report counts the runs at least as good as each; in the objective's units.",
    )
    looks: list[Whole] = Field(
        default_factory=list,
        max_length=10,
        description=(
            "Numbers of seeds, rising and below n_seeds, at which a verdict is taken already; one "
            "that decides ends the study."
        ),
    )
    boundary: Literal["pocock", "obrien_fleming"] = Field(
        default="obrien_fleming",
        description="How the chance to err is spread over the looks: evenly, or hardly any at the first.",
    )
    _plan: tuple[int, ...] = PrivateAttr(default=())

    @property
    def plan(self) -> tuple[int, ...]:
        """The numbers of seeds at which a verdict was declared to be taken, the last one included;
        extending does not change them.
        """
        return self._plan or (*self.looks, self.n_seeds)

    def at_seeds(self, n_seeds: int) -> Self:
        """Return the same with another number of seeds, under the plan as it is; they no longer
        follow from a power then.
        """
        if n_seeds == self.n_seeds:
            return self
        looks = [n for n in self.looks if n <= n_seeds]
        confirm = self.model_copy(update={"n_seeds": n_seeds, "power": None, "looks": looks})
        if self.looks:
            confirm._plan = self.plan
        return confirm

    @model_validator(mode="after")
    def _looks_rise(self) -> Self:
        legal = (
            "whole numbers, rising, at least "
            f"2{f' and below n_seeds = {self.n_seeds}' if self.n_seeds else ''}"
        )
        if any(now <= before for before, now in itertools.pairwise([1, *self.looks])):
            raise CrossFieldError(
                "confirm.looks", self.looks, "looks must rise from one to the next", legal
            )
        if self.looks and self.n_seeds and self.looks[-1] >= self.n_seeds:
            raise CrossFieldError(
                "confirm.looks",
                self.looks,
                f"{self.looks[-1]} is no look before the last, at n_seeds = {self.n_seeds}",
                legal,
            )
        return self

    @model_validator(mode="after")
    def _has_seeds(self) -> Self:
        if self.n_seeds == 0 and self.power is None:
            message = "n_seeds is missing, and so is a power from which it is computed"
            raise CrossFieldError(
                "confirm.n_seeds", None, message, "a whole number, at least 2; or give a power"
            )
        if len(set(self.thresholds)) != len(self.thresholds):
            raise CrossFieldError(
                "confirm.thresholds",
                self.thresholds,
                "each threshold may stand only once",
                "at most 10 different numbers",
            )
        return self


def default_arms() -> list[Arm]:
    return [
        Arm(name="baseline", technique="none"),
        Arm(
            name="noisy",
            technique="annealed",
            space={"eta": Choices(choices=[0.01, 0.3, 1.0]), "gamma": Range(low=0.3, high=0.9)},
        ),
    ]


class StudySpec(Strict):
    """One question: does a technique help this workload, when both sides are tuned alike?"""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,79}$",
        description="Name of the study, unique on this service.",
    )
    description: str = Field(
        default="", max_length=2000, description="What is asked and why, for readers of the report."
    )
    workload: str = Field(description="What is trained; `gradnoise workloads` lists the workloads.")
    options: dict[str, object] = Field(
        default_factory=dict, description="The workload's options; missing ones take its defaults."
    )
    optimizer: str = Field(default="sgd", description="The optimizer, the same for every arm.")
    objective: str | None = Field(
        default=None, description="The metric that decides; the workload's first by default."
    )
    smallest_difference: Number = Field(
        gt=0, description="The smallest difference that matters, in the objective's units."
    )
    judge: Literal["last_epoch", "best_validation_epoch"] = Field(
        default="last_epoch",
        description="Which epoch's value counts: the last one, or the one with the best validation value.",
    )
    space: Space = Field(
        min_length=1,
        description=(
            "Parameters that every arm tunes over the same space, the learning rate `lr` among "
            "them."
        ),
    )
    arms: list[Arm] = Field(
        default_factory=default_arms,
        min_length=2,
        max_length=10,
        description="The sides; the first is the baseline.",
    )
    budget: Literal["equal", "unequal"] = Field(
        default="equal",
        description="Whether every arm has the search's n_trials; if unequal, the report leads with it.",
    )
    search: Search | None = Field(
        default=None,
        description=(
            "How each arm is tuned; left out, nothing is: every arm runs every combination of the "
            "shared space's values."
        ),
    )
    confirm: Confirm
    seed: Whole = Field(ge=0, lt=2**48, description="Every seed of the study derives from it.")
    max_attempts: Whole = Field(
        default=3,
        ge=1,
        le=10,
        description=(
            "How often a trial that raises or loses its worker is tried before it counts as a loss."
        ),
    )
    priority: Whole = Field(default=0, ge=-100, le=100, description="Higher runs first.")

    @model_validator(mode="after")
    def _arms_differ_and_share_no_parameter(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise ValueError(f"arms must have different names, but got {names}")
        for phase in ("rerun", "confirm") if self.rerun.is_on else ("confirm",):
            if phase in names:
                raise ValueError(f"an arm must not be named {phase!r}: a phase is")
        for arm in self.arms:
            if arm.n_trials is not None and self.budget == "equal":
                raise ValueError(
                    f"arm {arm.name!r} has n_trials={arm.n_trials} of its own: a comparison is "
                    "fair when all arms are tuned alike; "
                    "give every arm the search's n_trials, or declare `budget: unequal`, and the "
                    "report leads with it"
                )
            twice = sorted(set(arm.space) & set(self.space))
            if twice:
                raise ValueError(
                    f"arm {arm.name!r} repeats {twice}, which the shared space holds: a shared "
                    "parameter has one space for all arms"
                )
        return self

    @model_validator(mode="after")
    def _what_is_not_searched_can_be_counted(self) -> Self:
        if self.search is not None:
            return self
        if self.confirm.epochs is None:
            message = "is missing: a study without a search takes it from nowhere else"
            raise CrossFieldError(
                "confirm.epochs", None, message, "a whole number, at least 1; or give a search"
            )
        for name, parameter in self.space.items():
            if isinstance(parameter, Range) and parameter.n_points is None:
                message = (
                    f"without a search every value of {name} is run, and those of a continuous "
                    "range cannot be counted"
                )
                legal = "choices, a range with a step, or one value; or give a search"
                raise CrossFieldError(
                    f"space.{name}", parameter.model_dump(exclude_defaults=True), message, legal
                )
        for i, arm in enumerate(self.arms):
            for name, parameter in arm.space.items():
                if isinstance(parameter, Range | Choices):
                    message = (
                        "without a search an arm has one value of each parameter of its own, but "
                        f"{name} has several"
                    )
                    legal = "one value, and an arm for each of several; or give a search"
                    raise CrossFieldError(
                        f"arms.{i}.space.{name}",
                        parameter.model_dump(exclude_defaults=True),
                        message,
                        legal,
                    )
            if arm.n_trials is not None:
                message = "there is no search that this could be the budget of"
                raise CrossFieldError(
                    f"arms.{i}.n_trials", arm.n_trials, message, "left out; or give a search"
                )
        return self

    @property
    def confirm_epochs(self) -> int:
        return self.confirm.epochs or self.epochs

    @property
    def epochs(self) -> int:
        """The epochs of the trials that come first: those of the search, or without one those of
        the confirm phase.
        """
        epochs = self.search.epochs if self.search else self.confirm.epochs
        assert epochs is not None
        return epochs

    @property
    def rerun(self) -> Rerun:
        return self.search.rerun if self.search else Rerun(n_seeds=0)

    @property
    def n_points(self) -> int:
        """How many settings each arm runs on every confirm seed: the one that it chose, or without
        a search all of the shared space's.
        """
        counts = (
            parameter.n_points or 1
            for parameter in self.space.values()
            if isinstance(parameter, Range | Choices)
        )
        return 1 if self.search else math.prod(counts)

    @property
    def n_pairs(self) -> int:
        """How many confirm runs each arm has, at most: one for each setting and seed; run i *
        n_points + k is setting k on seed i.
        """
        return self.confirm.n_seeds * self.n_points

    @property
    def n_trials_total(self) -> int:
        return sum(
            self.n_searched(arm.name) + self.n_rerun(arm.name) + self.n_pairs for arm in self.arms
        )

    @property
    def n_epochs_total(self) -> int:
        """How many epochs the trials of all arms and phases train, at most."""
        first = sum(self.n_searched(arm.name) + self.n_rerun(arm.name) for arm in self.arms)
        return first * self.epochs + len(self.arms) * self.n_pairs * self.confirm_epochs

    def points(self, arm: str | None = None) -> list[dict[str, Value]]:
        """Return every combination of the shared space's values, of a study without a search; with
        an arm, its own values are in each.
        """
        values = [
            list(p.points()) if isinstance(p, Range | Choices) else [p] for p in self.space.values()
        ]
        own = {} if arm is None else self.own_values(arm)
        return [
            {**dict(zip(self.space, point, strict=True)), **own}
            for point in itertools.product(*values)
        ]

    def own_values(self, arm: str) -> dict[str, Value]:
        """Return the values that an arm alone has, of those that are fixed."""
        return {
            name: value
            for name, value in self.arm(arm).space.items()
            if not isinstance(value, Range | Choices)
        }

    def n_searched(self, arm: str) -> int:
        """Return how many search trials an arm has."""
        return (self.arm(arm).n_trials or self.search.n_trials) if self.search else 0

    def n_rerun(self, arm: str) -> int:
        """Return how many trials of an arm run again, where it has as many settings."""
        rerun = self.rerun
        return min(rerun.top, self.n_searched(arm)) * rerun.n_seeds if rerun.is_on else 0

    def at_seeds(self, n_seeds: int) -> Self:
        """Return the same study with so many confirm seeds in all, fewer at a look and more after
        an extension; trials are numbered on.
        """
        return self.model_copy(update={"confirm": self.confirm.at_seeds(n_seeds)})

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def arm_space(self, name: str) -> dict[str, Parameter]:
        """Return the arm's whole space, the shared parameters first."""
        return {**self.space, **self.arm(name).space}

    def trial_seed(self, phase: Phase, number: int) -> int:
        """Return the seed of the number-th trial of a phase: the same for every arm, and different
        in each phase.

        In the rerun phase the seeds come round: trial k * n_seeds + i is the k-th best setting on
            the i-th seed.
        """
        if phase == "rerun":
            number %= max(1, self.rerun.n_seeds)
        digest = hashlib.blake2b(f"{self.seed}/{phase}/{number}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big")
