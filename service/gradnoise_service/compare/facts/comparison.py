"""Comparison: all results of a study, as facts."""

import math
import statistics
from collections.abc import Mapping
from typing import Any, Literal

from gradnoise_service.compare.facts.base import Frozen, Interval
from gradnoise_service.compare.facts.diagnostics import Diagnostics
from gradnoise_service.compare.facts.findings import Finding, NoVerdict
from gradnoise_service.compare.facts.luck import SearchLuck
from gradnoise_service.compare.facts.tables import ArmSummary, GridPoint, SearchPoint, SeedRow
from gradnoise_service.domain.confirm import Boundary
from gradnoise_service.domain.study import Direction, Verdict

Reason = Literal[
    "interval_within",
    "interval_beyond",
    "interval_excludes_zero",
    "interval_includes_zero",
    "interval_below",
    "test_not_significant",
]
"""Why a verdict was reached, with delta the smallest difference that matters.

`no_difference`: the interval of the gain lies within delta on both sides (`interval_within`).
`helps`, `hurts`: it lies beyond delta (`interval_beyond`), or excludes 0 and reaches delta.
`undecided`: it includes 0, or it excludes 0 but the exact test is not significant. At a look at
which arms may be dropped: it lies below delta (`interval_below`), so no gain that matters is left.
"""


class Searches(Frozen):
    """The mean of the confirm runs of each of `n` independent searches of an arm.

    Args:
        means, baseline_means: By search, of the arm and of the baseline.
        degrees: Degrees of freedom of Welch's interval.
        search_sd, seed_sd: Standard deviations between searches, of their true means, and between
            the runs of a search; None where no search has two runs.
        further: For `undecided`: how many further searches of each arm decide with probability 0.8,
            if mean and standard deviations stay as they are; None if the most
            that a study can have would not.
    """

    n: int
    means: tuple[float, ...]
    baseline_means: tuple[float, ...]
    degrees: float
    search_sd: float | None
    seed_sd: float | None
    baseline_search_sd: float | None
    baseline_seed_sd: float | None
    further: int | None = None

    @property
    def difference(self) -> float:
        """The mean over the arm's searches minus that over the baseline's."""
        return statistics.fmean(self.means) - statistics.fmean(self.baseline_means)

    @property
    def standard_error(self) -> float:
        """That of the difference: sqrt((S_a^2 + S_b^2) / n); 0 if it is a rounding error."""
        variances = map(statistics.variance, (self.means, self.baseline_means))
        error = math.sqrt(sum(variances) / self.n)
        return error if error > 1e-12 * max(map(abs, (*self.means, *self.baseline_means))) else 0.0


class Untrained(Frozen):
    """The best value on test data of the models of `n_seeds` seeds before their first update."""

    best: float
    n_seeds: int


class LossBound(Frozen):
    """The rates of lost runs that the runs do not exclude, and those that would end the verdict.

    Args:
        level: Confidence level of each bound.
        bound, baseline_bound: Upper bounds on the loss rates of the arm and of the baseline.
        limit: The arm's loss rate from which `helps` is no gain, or `no_difference` no longer lies
            within the smallest difference; None if no rate ends the verdict.
        baseline_limit: Likewise the baseline's loss rate, for `hurts` and `no_difference`.
    """

    level: float
    bound: float
    baseline_bound: float
    limit: float | None = None
    baseline_limit: float | None = None

    @property
    def arm_matters(self) -> bool:
        """Whether the arm may lose so many runs that the verdict ends."""
        return self.limit is not None and self.bound >= self.limit

    @property
    def baseline_matters(self) -> bool:
        """Whether the baseline may lose so many runs that the verdict ends."""
        return self.baseline_limit is not None and self.baseline_bound >= self.baseline_limit


class Difference(Frozen):
    """An arm against the baseline over `n` of `n_declared` pairs of runs.

    A lost run counts as the worst value of the comparison.

    Args:
        verdict: `undecided` also where `no_verdict` is given.
        reason: Why the verdict was reached; None without one.
        no_verdict: Why there is no verdict; None if there is one.
        dropped_at: Seeds of the look at which the arm stopped while others continued, and on which
            all numbers are; None if it did not.
        n_lost, baseline_n_lost: Lost runs of the arm and of the baseline.
        searches: The means of repeated searches, on which the verdict is then based; None with a
            single search.
        mean, baseline_mean: Means over the pairs; with repeated searches over the searches.
        gain: Mean of the paired differences, or that of the searches' means, times the metric's
            sign; above 0 is better.
        gain_interval: Its interval, at Bonferroni's level where several arms are compared.
        difference: The same mean in the metric's sign, arm minus baseline.
        relative: The difference as a share of the baseline's mean; None where that is 0, or less
            than a billionth of the difference.
        interquartile_mean: Mean of the paired differences without the lowest and highest quarter.
        p_better: Probability that the arm beats the baseline on the same seed: the share of pairs,
            a tie counted half.
        p_better_interval: Its Wilson interval.
        probability_of_improvement: Probability that a run of the arm beats a run of the baseline on
            any seed: over all n times n pairs of runs, a tie counted half (Agarwal et al. 2021).
        p_value: Of the two-sided sign-flip test of the mean, or always valid, or with few repeated
            searches of Welch's test; adjusted for the number of arms.
        rank_p_value: Of Wilcoxon's two-sided signed-rank test, not adjusted: for information.
        correlation: Pearson's r between the values of the arm and of the baseline over the pairs;
            None if it is undefined.
        losses: The loss rates that the runs do not exclude; None without a pair.
        further_seeds: For `undecided`: how many further seeds decide with probability 0.8, if mean
            and standard deviation stay as they are; None if a million would not. With an
            always-valid verdict: how many decide if these pairs repeat; None if 10,000 would not.
        search_luck: How far repeating both searches could move the difference; None without a
            search or a verdict, or where it cannot be estimated.
    """

    arm: str
    baseline: str
    verdict: Verdict
    reason: Reason | None = None
    no_verdict: NoVerdict | None = None
    dropped_at: int | None = None
    n: int
    n_declared: int
    n_better: int = 0
    n_worse: int = 0
    n_tied: int = 0
    n_lost: int = 0
    baseline_n_lost: int = 0
    searches: Searches | None = None
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
    rank_p_value: float | None = None
    correlation: float | None = None
    losses: LossBound | None = None
    further_seeds: int | None = None
    search_luck: SearchLuck | None = None


class Plan(Frozen):
    """The declared looks, with the nominal level of each for each comparison with the baseline.

    Args:
        looks: Numbers of seeds, the last included.
        n_seeds: The number of seeds of this comparison.
    """

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    boundary: Boundary
    n_seeds: int

    @property
    def level(self) -> float:
        """The nominal level of this comparison; beyond the looks, that of the last."""
        return dict(zip(self.looks, self.levels, strict=True)).get(self.n_seeds, self.levels[-1])

    def of(self, difference: Difference) -> "Plan":
        """Return the plan at the look of a difference: an earlier one if its arm was dropped."""
        return self.model_copy(update={"n_seeds": difference.dropped_at or self.n_seeds})


class Comparison(Frozen):
    """All results of a study, as facts; `verdict` is on the first compared arm.

    Args:
        is_final: Whether the verdicts are final: every declared trial has ended, and no further
            look follows. While it is False and every declared trial has ended, the study continues
            to its next look.
        worst: The value that a lost confirm run counts as.
        declared_worst: The metric's declared worst value; None where lost runs count as that value.
        split: The data on which confirm runs are judged.
        differences: Each further arm against the first.
        arms: The arms, the baseline first.
        seeds: The confirm runs, seed by seed.
        points: The settings of a study without a search, with every arm's runs.
        search: Every search trial that has started, by arm and number.
        findings: Reasons to doubt the verdict, the most severe first.
        protocol: Versions, formulas and the order of operations of what ran.
        plan: The declared looks; None where the verdict is taken once.
        looks: Numbers of seeds at which a verdict was possible before the study was extended.
        lengths: Epochs of the confirm runs at each verdict, where an extension has trained them on;
            else empty.
        false_verdict_chance: Probability that an arm that equals the baseline is called better or
            worse at any look, for normal sums of the differences.
        anytime: Whether interval and p-value are valid at every number of pairs, so that a verdict
            may be given while the study runs; only pairs before the first open one count.
        pocock_level: The p-value that each look of an extended study would have had to reach, had
            so many looks been declared (Pocock); None where looks were declared, or without an
            extension.
    """

    verdict: Verdict
    is_final: bool
    metric: str
    direction: Direction
    worst: float
    declared_worst: float | None = None
    split: Literal["test", "validation"] = "test"
    smallest_difference: float
    study_seed: int
    differences: tuple[Difference, ...]
    arms: tuple[ArmSummary, ...]
    seeds: tuple[SeedRow, ...]
    points: tuple[GridPoint, ...] = ()
    search: tuple[SearchPoint, ...]
    findings: tuple[Finding, ...] = ()
    protocol: Mapping[str, Any]
    plan: Plan | None = None
    looks: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    false_verdict_chance: float = 0.05
    anytime: bool = False
    pocock_level: float | None = None
    diagnostics: Diagnostics = Diagnostics()

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return 1 if self.direction == "maximize" else -1

    @property
    def baseline(self) -> ArmSummary:
        return self.arms[0]

    def arm(self, name: str) -> ArmSummary:
        return next(arm for arm in self.arms if arm.name == name)
