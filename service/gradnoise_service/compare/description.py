"""The numbers of a difference, without its verdict: means, intervals, shares, counts."""

import statistics
from collections.abc import Sequence

import numpy as np

from gradnoise_service.compare import anytime
from gradnoise_service.compare.facts.base import LOST, Interval
from gradnoise_service.compare.facts.comparison import Difference
from gradnoise_service.compare.facts.tables import SeedRow
from gradnoise_service.compare.intervals import (
    interquartile_interval,
    interquartile_mean,
    mean_interval,
    share_interval,
)
from gradnoise_service.compare.ranks import probability_of_improvement, signed_rank_p
from gradnoise_service.compare.searches import searches, welch_interval
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric

NEXT_TO_ZERO = 1e-9
"""A baseline's mean below this share of a difference is a rounding error of 0."""


def described(
    design: Design, metric: Metric, rows: Sequence[SeedRow], arm: str, p: float | None
) -> Difference:
    """Return the numbers of a difference, without a verdict."""
    baseline = design.baseline.name
    pairs = paired(rows, arm, baseline)
    empty = Difference(
        arm=arm,
        baseline=baseline,
        verdict="undecided",
        n=len(pairs),
        n_declared=design.n_pairs,
        n_lost=_n_lost(rows, arm),
        baseline_n_lost=_n_lost(rows, baseline),
        p_value=p,
    )
    if not pairs:
        return empty
    gains = gains_of(metric, pairs)
    n_better, n_worse = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    n_tied = len(pairs) - n_better - n_worse
    share, level = (n_better + n_tied / 2) / len(pairs), 1 - design.level
    counted = empty.model_copy(
        update={
            "n_better": n_better,
            "n_worse": n_worse,
            "n_tied": n_tied,
            "interquartile_mean": metric.sign * interquartile_mean(gains),
            "p_better": share,
            "correlation": _correlation(pairs),
            "probability_of_improvement": probability_of_improvement(
                [metric.sign * a for a, _ in pairs], [metric.sign * b for _, b in pairs]
            ),
        }
    )
    if design.n_repeats > 1:
        found = searches(design, rows, arm)
        if found is None:
            return _with_means(counted, metric, *_sides(pairs), None)
        welch = _possible(welch_interval(found, metric.sign, level=level), metric)
        described = _with_means(counted, metric, found.means, found.baseline_means, welch)
        return described.model_copy(update={"searches": found})
    has_interval, seed = len(pairs) >= design.fewest_pairs, design.spec.seed
    interval = _mean_interval(design, gains) if has_interval else None
    middle = interquartile_interval(gains, level=level, seed=seed) if has_interval else None
    return _with_means(counted, metric, *_sides(pairs), interval).model_copy(
        update={
            "interquartile_interval": middle and _oriented(middle, metric.sign),
            "p_better_interval": share_interval(share, len(pairs), level=level),
            "rank_p_value": signed_rank_p(gains),
        }
    )


def _with_means(
    counted: Difference,
    metric: Metric,
    values: Sequence[float],
    baseline_values: Sequence[float],
    interval: Interval | None,
) -> Difference:
    """Return the difference of the means of equally many values, with the gain's interval."""
    base = statistics.fmean(baseline_values)
    difference = statistics.fmean(a - b for a, b in zip(values, baseline_values, strict=True))
    return counted.model_copy(
        update={
            "mean": statistics.fmean(values),
            "baseline_mean": base,
            "gain": metric.sign * difference,
            "gain_interval": interval,
            "difference": difference,
            "difference_interval": interval and _oriented(interval, metric.sign),
            "relative": _relative(difference, base),
        }
    )


def _possible(interval: Interval, metric: Metric) -> Interval:
    """Return the part of an interval of a gain that a bounded metric allows."""
    if metric.range is None:
        return interval
    low, high = max(interval.low, -metric.range), min(interval.high, metric.range)
    return interval.model_copy(update={"low": low, "high": high})


def _mean_interval(design: Design, gains: Sequence[float]) -> Interval:
    level = 1 - design.level
    if design.is_anytime:
        return anytime.anytime_interval(gains, level=level)
    return mean_interval(gains, level=level, seed=design.spec.seed)


def paired(rows: Sequence[SeedRow], arm: str, baseline: str) -> list[tuple[float, float]]:
    """Return the values of the arm and of the baseline where both have one."""
    pairs = ((row.runs[arm].value, row.runs[baseline].value) for row in rows)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _sides(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def gains_of(metric: Metric, pairs: Sequence[tuple[float, float]]) -> list[float]:
    """Return the differences of pairs, above 0 where the arm is better."""
    return [metric.sign * (a - b) for a, b in pairs]


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Pearson's r; None if a side's values are equal up to rounding."""
    x = np.asarray(pairs, dtype=float)
    if np.any(np.ptp(x, axis=0) <= 1e-12 * np.max(np.abs(x), axis=0)):
        return None
    u = x - x.mean(axis=0)
    u /= np.max(np.abs(u), axis=0)  # squares cannot overflow
    u /= np.linalg.norm(u, axis=0)
    return max(-1.0, min(1.0, float(u[:, 0] @ u[:, 1])))


def _n_lost(rows: Sequence[SeedRow], arm: str) -> int:
    return sum(row.runs[arm].outcome in LOST for row in rows)


def _relative(difference: float, base: float) -> float | None:
    return difference / abs(base) if abs(base) > NEXT_TO_ZERO * abs(difference) else None


def _oriented(interval: Interval, sign: int) -> Interval:
    low, high = sorted((sign * interval.low, sign * interval.high))
    return interval.model_copy(update={"low": low, "high": high})
