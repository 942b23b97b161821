"""Tuning curves: the median of the best of k trials, with simultaneous confidence bands.

The best of k independent trials is at most y with probability F(y)^k, with F the distribution
function of a single trial. Its median is therefore the quantile 0.5^(1/k) of F, and bounds on F are
bounds on the curve at every k (Lourie, Cho and He, Show Your Work with Confidence: Confidence Bands
for Tuning Curves, NAACL 2024).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.diagnostics import (
    BudgetComparison,
    BudgetPoint,
    Lead,
    Tuning,
    TuningCurve,
)
from gradnoise_service.compare.facts.tables import ArmSummary, SearchPoint
from gradnoise_service.compare.order_statistics import quantile_bounds
from gradnoise_service.domain.search import Search
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric

MOST_TRIALS = 500
"""Of more trials of an arm the first ones are used, to limit the time of the computation."""
EVERY = 20
"""Numbers of trials up to which each has a point of the curve; beyond, their distance grows."""
GROWTH = 1.1


@dataclass(frozen=True, kw_only=True)
class Band:
    """Medians of the best of 1, 2, ... n gains, and the ends of their simultaneous band."""

    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


def tuning(
    search: Search,
    metric: Metric,
    arms: Sequence[ArmSummary],
    by_arm: Sequence[Sequence[SearchPoint]],
) -> Tuning:
    """Return the tuning curves of all arms, and of each further arm against the first.

    The trials of an arm are independent draws only with the sampler `random` and without a pruner;
    otherwise there are no curves, nor before every declared search trial has ended. A lost trial
    counts as the metric's worst value. The bands of all m arms hold together with probability 0.95,
    each with 1 - 0.05 / m (Bonferroni: trial i has the same seed in all arms, so the arms are not
    independent).

    Args:
        arms: The arms, the baseline first.
        by_arm: The search trials that have started, of each arm in that order.
    """
    if search.sampler != "random":
        return Tuning(absent="sampler")
    if search.pruner.name != "none":
        return Tuning(absent="pruner")
    if not all(by_arm) or any(arm.search.n_ended < arm.search.n_declared for arm in arms):
        return Tuning(absent="open")
    used = [points[:MOST_TRIALS] for points in by_arm]
    level = 1 - ALPHA / len(arms)
    bands = [band(gains, level) for gains in _gains(metric, used)]
    curves = [
        _curve(metric, points, found, level) for points, found in zip(used, bands, strict=True)
    ]
    return Tuning(
        curves=tuple(curves),
        comparisons=tuple(
            _comparison((curves[0], bands[0]), (curve, found))
            for curve, found in zip(curves[1:], bands[1:], strict=True)
        ),
    )


def band(gains: Sequence[float], level: float) -> Band:
    """Return the medians of the best of 1, 2, ... n of n gains, with a simultaneous band.

    With the gains y_1 to y_n in ascending order and p = 0.5^(1/k), the median of the best of k is
    estimated by the first y_i with i / n of at least p. It is at most the first y_i whose quantile
    is at least p by its lower bound, and at least the last y_i whose quantile is below p by its
    upper bound. Ties do not invalidate this: the bounds then hold with more than `level`.

    Args:
        gains: Independent values of single trials, at least 1; larger is better.
        level: Probability that the band contains the whole curve, between 0.5 and 1.

    Returns:
        Medians, with -inf and inf as ends of the band where there is no bound.
    """
    y, n = np.sort(np.asarray(gains, dtype=float)), len(gains)
    p = 0.5 ** (1 / np.arange(1, n + 1))
    low, high = quantile_bounds(n, level)
    # n 0.5^(1/k) is a whole number only for k = 1, where it is exact
    at = np.ceil(n * p).astype(int) - 1
    return Band(
        median=y[at],
        low=np.concatenate([[-np.inf], y])[np.searchsorted(high, p, side="left")],
        high=np.concatenate([y, [np.inf]])[np.searchsorted(low, p, side="left")],
    )


def budgets(n: int) -> list[int]:
    """Return the numbers of trials up to n at which a curve has a point, at most 100.

    >>> budgets(26)[-5:]
    [19, 20, 22, 24, 26]
    """
    chosen = list(range(1, min(n, EVERY) + 1))
    while chosen[-1] < n:
        chosen.append(min(n, int(chosen[-1] * GROWTH)))
    return chosen


def _gains(metric: Metric, by_arm: Sequence[Sequence[SearchPoint]]) -> list[list[float]]:
    return [
        [
            metric.sign
            * (metric.worst if point.outcome in LOST or point.value is None else point.value)
            for point in points
        ]
        for points in by_arm
    ]


def _curve(metric: Metric, points: Sequence[SearchPoint], band: Band, level: float) -> TuningCurve:
    def value(gain: float) -> float | None:
        return float(metric.sign * gain) if np.isfinite(gain) else None

    return TuningCurve(
        arm=points[0].arm,
        n=len(points),
        n_lost=sum(point.outcome in LOST for point in points),
        level=level,
        reach=int(np.isfinite(band.high).sum()),
        points=tuple(
            BudgetPoint(
                n_trials=k,
                median=float(metric.sign * band.median[k - 1]),
                worse=value(band.low[k - 1]),
                better=value(band.high[k - 1]),
            )
            for k in budgets(len(points))
        ),
    )


def _comparison(
    baseline: tuple[TuningCurve, Band], arm: tuple[TuningCurve, Band]
) -> BudgetComparison:
    (base_curve, base), (curve, found) = baseline, arm
    n = min(curve.n, base_curve.n)
    return BudgetComparison(
        arm=curve.arm,
        baseline=base_curve.arm,
        n=n,
        reach=min(n, max(curve.reach, base_curve.reach)),
        leads=tuple(_leads((base_curve.arm, curve.arm), found.median[:n] - base.median[:n])),
        better=_first_range(found.low[:n] > base.high[:n]),
        worse=_first_range(found.high[:n] < base.low[:n]),
    )


def _leads(names: tuple[str, str], ahead: np.ndarray) -> Iterator[Lead]:
    """Yield who leads, from the differences of the medians of the best of 1, 2, ... trials."""
    signs = [(k, bool(gap > 0)) for k, gap in enumerate(ahead, start=1) if gap]
    for is_ahead, led in itertools.groupby(signs, key=lambda sign: sign[1]):
        first, *rest = (k for k, _ in led)
        yield Lead(arm=names[is_ahead], first=first, last=rest[-1] if rest else first)


def _first_range(apart: np.ndarray) -> tuple[int, int] | None:
    """Return the numbers of trials, from and to, of the first run of true elements."""
    if not apart.any():
        return None
    first = int(apart.argmax())
    n = int(np.argmin([*apart[first:], False]))
    return first + 1, first + n
