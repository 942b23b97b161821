"""Losses: the rates of lost runs that an arm's runs do not exclude, and those that matter."""

import statistics
from collections.abc import Sequence

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.comparison import LossBound
from gradnoise_service.compare.facts.tables import Run
from gradnoise_service.domain.study import Metric, Verdict


def loss_bound(
    counted: Metric,
    verdict: Verdict,
    arm: Sequence[Run],
    baseline: Sequence[Run],
    *,
    smallest_difference: float,
    level: float,
) -> LossBound:
    """Return the bounds on the loss rates of two arms, and the rates that end a verdict.

    With a share q of lost runs, an arm's mean is (1 - q) m + q w: m the mean of its runs that were
    not lost, w the value that a lost run counts as. Its distance to the other arm's mean b, over
    all runs, then reaches the limit of the verdict at

        q = (m - b + margin) / (m - w),

    with a margin of 0 for `helps` (of the arm's rate) and `hurts` (of the baseline's), and of the
    smallest difference for `no_difference` (of each arm's rate).

    Args:
        counted: The metric, `worst` the value that a lost run counts as.
        verdict: Of the arm against the baseline.
        arm: Its runs that have a value, lost ones included; at least 1.
        baseline: Likewise.
        smallest_difference: Used for `no_difference`.
        level: Confidence level of each bound, in (0, 1).
    """
    margin = smallest_difference if verdict == "no_difference" else 0.0
    may_fall = verdict in ("helps", "no_difference")
    may_rise = verdict in ("hurts", "no_difference")
    return LossBound(
        level=level,
        bound=rate_bound(_n_lost(arm), len(arm), level=level),
        baseline_bound=rate_bound(_n_lost(baseline), len(baseline), level=level),
        limit=_limit(counted, arm, baseline, margin) if may_fall else None,
        baseline_limit=_limit(counted, baseline, arm, margin) if may_rise else None,
    )


def rate_bound(n_lost: int, n: int, *, level: float) -> float:
    """Return the one-sided upper bound on a rate (Clopper and Pearson 1934).

    It is the rate at which at most n_lost of n runs are lost with probability 1 - level; without a
    lost run, 1 - (1 - level)^(1 / n).

    >>> [round(rate_bound(0, n, level=0.95), 3) for n in (6, 12, 24)]
    [0.393, 0.221, 0.117]
    """
    # scipy is imported with the first computation: stored comparisons are shown without it
    from scipy.special import betaincinv  # type: ignore[import-untyped]  # scipy ships no types

    return 1.0 if n_lost == n else float(betaincinv(n_lost + 1, n - n_lost, level))


def _limit(
    counted: Metric, runs: Sequence[Run], others: Sequence[Run], margin: float
) -> float | None:
    """Return the loss rate at which runs fall behind others by a margin; None if no rate does."""
    kept = (run.value for run in runs if run.outcome not in LOST)
    values = [counted.sign * value for value in kept if value is not None]
    if not values:
        return None
    mean, worst = statistics.fmean(values), counted.sign * counted.worst
    other = statistics.fmean(counted.sign * run.value for run in others if run.value is not None)
    lead = mean - other + margin
    return lead / (mean - worst) if lead <= mean - worst and mean > worst else None


def _n_lost(runs: Sequence[Run]) -> int:
    return sum(run.outcome in LOST for run in runs)
