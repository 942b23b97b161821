"""What describes a study beyond its verdict."""

from typing import Literal

from gradnoise_service.compare.facts.base import Frozen
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.spec import Phase

NOISE_NEGLIGIBLE = 0.01
"""A ratio of noise norm to gradient norm below which the noise hardly changes an update."""
NOISE_DOMINANT = 10.0
"""A ratio above which an update is mostly noise."""

Width = Literal["wider", "narrower", "equal", "too_few_trials"]
"""A range of learning rates relative to the baseline's; `too_few_trials` to compare them."""


class Course(Frozen):
    """Means over an arm's complete confirm runs, epoch by epoch.

    Args:
        n: The number of runs at each epoch.
        values: Mean of the objective on validation.
        noise_to_gradient: Mean ratio of the noise's norm to the gradient's; None without noise.
        late_from: The first epoch of the last fifth.
        late_gain: Gain of the least-squares line over the last fifth; above 0 is better.
        is_climbing: Whether the late gain matters and exceeds twice its standard error.
    """

    arm: str
    epochs: tuple[int, ...]
    n: tuple[int, ...]
    values: tuple[float | None, ...]
    noise_to_gradient: tuple[float | None, ...]
    late_from: int | None
    late_gain: float | None
    is_climbing: bool


class Divergence(Frozen):
    """Diverged trials of an arm and of the baseline in a phase.

    `p_value` is of Fisher's exact test, two-sided.
    """

    arm: str
    baseline: str
    phase: Phase
    n_diverged: int
    n: int
    baseline_n_diverged: int
    baseline_n: int
    p_value: float


class RateRange(Frozen):
    """The learning rates whose search trials came close to the arm's best value.

    Close means within the smallest difference that matters. `n_within` of the `n_between` trials
    from low to high are close.
    """

    arm: str
    best: float
    low: float
    high: float
    n_within: int
    n_between: int
    width: Width | None = None

    @property
    def factor(self) -> float:
        return self.high / self.low


class Importance(Frozen):
    """The share of the variance of an arm's values, as ranks, that a hyperparameter explains alone.

    It is estimated from `n` trials in `n_groups`. Of a hyperparameter without effect, the share is
    below `chance` in 95 of 100 searches.
    """

    arm: str
    name: str
    share: float
    chance: float
    n_groups: int
    n: int


class Interaction(Frozen):
    """The share that two hyperparameters explain beyond the sum of what each explains alone.

    It is estimated from `n` trials in `n_cells`; `chance` as for a single hyperparameter.
    """

    arm: str
    names: tuple[str, str]
    share: float
    chance: float
    n_cells: int
    n: int


class Cell(Frozen):
    """A cell of the eta x gamma map: the ranges of its trials' values, and their results."""

    arm: str
    eta: tuple[float, float]
    gamma: tuple[float, float]
    n: int
    n_lost: int
    mean: float | None
    spread: float | None


class BudgetPoint(Frozen):
    """The median of the best value of `n_trials` independent trials, with the ends of its band.

    `worse` and `better` are None where the trials do not bound the median on that side.
    """

    n_trials: int
    median: float
    worse: float | None
    better: float | None


class TuningCurve(Frozen):
    """The median of the best of k trials of an arm, estimated from `n` independent trials.

    Args:
        n_lost: Trials that count as the worst.
        level: Confidence of the band, over all k together.
        reach: The largest k whose median is bounded on the better side; 0 if none is.
    """

    arm: str
    n: int
    n_lost: int
    level: float
    reach: int
    points: tuple[BudgetPoint, ...]


class Lead(Frozen):
    """An arm with the better estimated median from `first` to `last` trials, ties included."""

    arm: str
    first: int
    last: int


class BudgetComparison(Frozen):
    """The tuning curves of an arm and of the baseline, over 1 to `n` trials.

    Args:
        reach: The largest number of trials at which the two bands can be apart.
        leads: Which estimate is better, by number of trials; empty if they are equal throughout.
        better: The first numbers of trials, from and to, at which the arm's whole band is better;
            None without.
        worse: Likewise where it is worse.
    """

    arm: str
    baseline: str
    n: int
    reach: int
    leads: tuple[Lead, ...]
    better: tuple[int, int] | None
    worse: tuple[int, int] | None


class Tuning(Frozen):
    """The tuning curves of a search, or why it has none.

    `sampler`: the trials are not drawn independently. `pruner`: some end early. `open`: not every
    declared search trial has ended.
    """

    absent: Literal["sampler", "pruner", "open"] | None = None
    confidence: float = 1 - ALPHA
    curves: tuple[TuningCurve, ...] = ()
    comparisons: tuple[BudgetComparison, ...] = ()


class Diagnostics(Frozen):
    """What describes a study beyond its verdict."""

    courses: tuple[Course, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    rates: tuple[RateRange, ...] = ()
    importances: tuple[Importance, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    cells: tuple[Cell, ...] = ()
    tuning: Tuning | None = None
