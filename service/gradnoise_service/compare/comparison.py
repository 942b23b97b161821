"""Comparison: all that a study says about its question, as values that go through JSON unchanged.

Differences are always arm minus baseline. `gain` carries the metric's sign, so that above 0 is
better whatever the direction; `difference` is in the metric's own units and sign. No number is ever
NaN or infinite: what cannot be computed is None.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gradnoise_service.domain.spec import Value
from gradnoise_service.domain.study import Direction

Verdict = Literal["helps", "hurts", "no_difference", "undecided"]
Outcome = Literal["complete", "diverged", "pruned", "failed", "cancelled", "open"]
"""How a trial counts: `diverged` ended with a non-finite loss or value; `open` has not ended."""

LOST: tuple[Outcome, ...] = ("diverged", "failed")
"""What counts as the metric's worst value."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Interval(Frozen):
    """Low to high at a confidence level below 1; `method` says how it was computed, or why it has
    no width.
    """

    low: float
    high: float
    level: float
    method: str


class Difference(Frozen):
    """An arm against the baseline over `n` paired seeds, of `n_declared`. Lost runs are in, as the
    metric's worst value.

    Args:
        verdict: What the interval says of the arm, at the declared number of seeds.
        sentence: The verdict in words, with its numbers.
        mean, baseline_mean: The means of both over the pairs.
        gain: Mean of the paired differences times the metric's sign; above 0 is better.
        gain_interval: Its interval; the level is Bonferroni's where several arms are compared.
        difference: The same mean in the metric's own sign, arm minus baseline.
        difference_interval: Its interval.
        relative: The difference as a share of the baseline's mean; None where that is 0, or less
            than a billionth of the difference.
        interquartile_mean: Interquartile mean of the paired differences, arm minus baseline: the
            lowest and highest quarter are cut.
        interquartile_interval: Its interval.
        p_better: Chance that the arm beats the baseline on the same seed: the share of pairs, ties
            counted half.
        p_better_interval: Its Wilson interval.
        probability_of_improvement: Chance that a run of the arm beats a run of the baseline,
            whatever their seeds: over all n times n pairs of runs, ties counted half (Agarwal et
            al. 2021).
        p_value: Two-sided Wilcoxon signed-rank test by sign flips, Holm-adjusted over the arms.
        further_seeds: Of an undecided one: how many more pairs decide with a chance of 80 %, if
            mean and spread are as they are.
    """

    arm: str
    baseline: str
    verdict: Verdict
    sentence: str
    n: int
    n_declared: int
    n_better: int = 0
    n_worse: int = 0
    n_tied: int = 0
    mean: float | None = None
    baseline_mean: float | None = None
    gain: float | None = None
    gain_interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    relative: float | None = None
    interquartile_mean: float | None = None
    interquartile_interval: Interval | None = None
    p_better: float | None = None
    p_better_interval: Interval | None = None
    probability_of_improvement: float | None = None
    p_value: float | None = None
    further_seeds: int | None = None


class Tally(Frozen):
    """How the trials of an arm in a phase ended, of `n_declared`; each is counted once."""

    n_declared: int
    n_complete: int
    n_diverged: int
    n_pruned: int
    n_failed: int
    device_seconds: float

    @property
    def n_ended(self) -> int:
        return self.n_complete + self.n_diverged + self.n_pruned + self.n_failed


NO_TRIALS = Tally(
    n_declared=0, n_complete=0, n_diverged=0, n_pruned=0, n_failed=0, device_seconds=0.0
)


class Reached(Frozen):
    """How many of an arm's n confirm runs came to a threshold or beyond; a lost run never did. The
    interval is Wilson's.
    """

    threshold: float
    n_reached: int
    n: int
    interval: Interval


class ArmSummary(Frozen):
    """One side: the setting that its search chose, and how that did on the confirm seeds, lost runs
    included as the metric's worst. In a study without a search the setting is what the arm has of
    its own, beside the ones that all arms ran.

    `search_value` is the chosen setting's value on validation in the search, which was selected for
    being high; `chosen_value` is the mean over its reruns on other seeds, the search's value where
    there were none. Mean, median, lowest and highest are over the confirm runs on test data.
    """

    name: str
    technique: str
    setting: dict[str, Value] | None
    chosen_number: int | None
    chosen_value: float | None
    search_value: float | None = None
    search: Tally
    rerun: Tally = NO_TRIALS
    confirm: Tally
    mean: float | None
    median: float | None
    lowest: float | None
    highest: float | None
    reached: tuple[Reached, ...] = ()


class SearchPoint(Frozen):
    """One search trial. `value` is what was measured on validation, None where nothing finite was;
    `best` is the arm's best so far.
    """

    arm: str
    number: int
    seed: int
    outcome: Outcome
    value: float | None
    best: float | None
    params: dict[str, Value]
    device_seconds: float


class Run(Frozen):
    """One arm on one confirm seed; a lost run has the metric's worst value, a run that gave no
    result has None.
    """

    outcome: Outcome
    value: float | None

    def reaches(self, threshold: float, sign: int) -> bool:
        """Whether it came to a threshold or beyond, with sign -1 of a metric that is better
        smaller; a lost run never did.
        """
        return (
            self.outcome not in LOST
            and self.value is not None
            and sign * self.value >= sign * threshold
        )


class SeedRow(Frozen):
    """One confirm seed and the run of every arm on it; `point` is the index of the setting that all
    ran, None where each has its own.
    """

    number: int
    seed: int
    point: int | None = None
    runs: dict[str, Run]


class PointRuns(Frozen):
    """An arm's `n` runs of one setting on test data, lost ones included as the metric's worst:
    mean, standard deviation, best, and how many came to each threshold.
    """

    n: int
    n_lost: int
    mean: float | None
    spread: float | None
    best: float | None
    reached: tuple[Reached, ...] = ()


class GridPoint(Frozen):
    """One setting of a study without a search, and the runs of every arm with it."""

    params: dict[str, Value]
    runs: dict[str, PointRuns]


class Fact(Frozen):
    name: str
    value: str


class Plan(Frozen):
    """The looks that were declared before the first trial: their numbers of seeds, the last
    included, and the chance to err that each has for each comparison with the baseline. `n_seeds`:
    how many the verdict was taken at.
    """

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    boundary: str
    n_seeds: int


class Course(Frozen):
    """An arm's complete confirm runs over the epochs: how many, the mean of the objective on
    validation, the mean of the noise's norm over the gradient's (None without noise). `late_gain`
    is what the line through the points from `late_from` on gains, above 0 better.
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
    """How many trials of an arm and of the baseline diverged in a phase; p-value of Fisher's exact
    test, two-sided.
    """

    arm: str
    baseline: str
    phase: str
    n_diverged: int
    n: int
    baseline_n_diverged: int
    baseline_n: int
    p_value: float


class RateRange(Frozen):
    """The learning rates, low to high, whose search trials came within the smallest difference of
    the arm's best value: `n_within` of the `n_between` trials between the two.
    """

    arm: str
    best: float
    low: float
    high: float
    n_within: int
    n_between: int

    @property
    def factor(self) -> float:
        return self.high / self.low


class Importance(Frozen):
    """The share of the variance of an arm's values, as ranks, that a hyperparameter explains alone,
    from `n` trials in `n_groups`.

    `chance`: what the share of one that explains nothing stays below in 95 of 100 searches; None
        where it was not computed.
    """

    arm: str
    name: str
    share: float
    chance: float | None = None
    n_groups: int
    n: int


class Interaction(Frozen):
    """The share that two hyperparameters explain together beyond the sum of what each explains,
    from `n` trials in `n_cells`; `chance` as for one alone.
    """

    arm: str
    names: tuple[str, str]
    share: float
    chance: float
    n_cells: int
    n: int


class Cell(Frozen):
    """A cell of the eta x gamma map: the values that its trials had, from and to, and mean and
    standard deviation of what they reached.
    """

    arm: str
    eta: tuple[float, float]
    gamma: tuple[float, float]
    n: int
    n_lost: int
    mean: float | None
    spread: float | None


class Diagnostics(Frozen):
    """What describes the study beyond its verdict; `remarks` says what it comes to, in words."""

    courses: tuple[Course, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    rates: tuple[RateRange, ...] = ()
    importances: tuple[Importance, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    cells: tuple[Cell, ...] = ()
    remarks: tuple[Fact, ...] = ()


class Comparison(Frozen):
    """What a study's trials say; `verdict` and `sentence` are the first compared arm's.

    Args:
        is_final: Whether every declared trial has ended; before that there is no verdict.
        differences: Each further arm against the first.
        arms: The sides, the baseline first.
        seeds: The confirm runs, seed by seed.
        points: Of a study without a search, in which nothing was tuned: every setting, with the
            runs of all arms.
        search: Every search trial that has started, by arm and number: curves, learning-rate
            response and maps are read from it.
        held_equal: What was the same for every arm.
        warnings: What a careful reader should know before believing the verdict.
        protocol: Versions, formula and orders of what ran.
        plan: The looks that were declared, None where the verdict was to be taken once.
        looks: Numbers of seeds at which verdicts were given before the study was extended; each was
            a chance to err.
        false_verdict_chance: Chance, at most, that at one look or another an arm that is equal to
            the baseline is called better or worse.
        diagnostics: What describes the study beyond its verdict.
    """

    verdict: Verdict
    sentence: str
    is_final: bool
    metric: str
    direction: Direction
    worst: float
    smallest_difference: float
    study_seed: int
    differences: tuple[Difference, ...]
    arms: tuple[ArmSummary, ...]
    seeds: tuple[SeedRow, ...]
    points: tuple[GridPoint, ...] = ()
    search: tuple[SearchPoint, ...]
    held_equal: tuple[Fact, ...]
    warnings: tuple[str, ...]
    protocol: Mapping[str, Any]
    plan: Plan | None = None
    looks: tuple[int, ...] = ()
    false_verdict_chance: float = 0.05
    diagnostics: Diagnostics = Diagnostics()

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return 1 if self.direction == "maximize" else -1

    @property
    def baseline(self) -> ArmSummary:
        return self.arms[0]
