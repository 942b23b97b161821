"""The verdict on one arm: paired runs in, a Difference with its sentence out."""

import functools
import statistics
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from gradnoise_service.compare.comparison import Difference, Interval, SeedRow, Verdict
from gradnoise_service.compare.intervals import (
    fewest_pairs,
    holm,
    interquartile_interval,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    share_interval,
    signed_rank_p,
)
from gradnoise_service.compare.looks import OBRIEN_FLEMING, POCOCK, crossing_chance, nominal_levels
from gradnoise_service.compare.power import pairs_to_decide
from gradnoise_service.compare.wording import facts, looked_before, planned_look, sentence, too_few
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric

ALPHA = 0.05
NEXT_TO_ZERO = 1e-9
"""A baseline's mean below this share of a difference is 0 but for rounding: the difference is no
multiple of it.
"""
LEAST_LEVEL = 1e-12
"""No look is held to less: so little adds nothing to the chance to err, and 1 minus it is still a
confidence that can be told from 1.
"""
SHAPES = {"pocock": POCOCK, "obrien_fleming": OBRIEN_FLEMING}


def alpha_each(spec: StudySpec) -> float:
    """Return the error that each comparison with the baseline may have, so that all together have
    at most 5 % (Bonferroni).
    """
    return ALPHA / (len(spec.arms) - 1)


def level_at(spec: StudySpec, n_seeds: int) -> float:
    """Return the error that each comparison with the baseline may have at so many seeds.

    Where looks were declared it is the look's nominal level, with which they all together err as
    `alpha_each` says; at seeds beyond the plan, to which a study was extended, that of its last
    look.
    """
    plan = spec.confirm.plan
    if len(plan) == 1:
        return alpha_each(spec)
    levels = _nominal_levels(plan, SHAPES[spec.confirm.boundary], alpha_each(spec))
    return dict(zip(plan, levels, strict=True)).get(n_seeds, levels[-1])


def adjusted(spec: StudySpec, p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the arms' p-values adjusted for their number: by Holm's steps; by Bonferroni's where
    looks were declared, over which the steps would not keep the chance to err.
    """
    if len(spec.confirm.plan) > 1:
        return {arm: min(1.0, (len(spec.arms) - 1) * p) for arm, p in p_values.items()}
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def p_value(spec: StudySpec, rows: Sequence[SeedRow], arm: str) -> float | None:
    """Return the arm's signed-rank p-value before adjustment, None without pairs."""
    pairs = _paired(rows, arm, spec.arms[0].name)
    return signed_rank_p([a - b for a, b in pairs]) if pairs else None


def earlier_looks(spec: StudySpec, looks: Sequence[int]) -> tuple[int, ...]:
    """Return the earlier numbers of seeds at which there could be a verdict, on fewer than there
    are now; of an extended study with declared looks these too.
    """
    taken = {*looks, *(n for n in spec.confirm.plan[:-1] if looks and n <= min(looks))}
    return tuple(
        n
        for n in sorted(taken)
        if fewest_pairs(level_at(spec, n)) <= n * spec.n_points and n < spec.confirm.n_seeds
    )


def false_verdict_chance(spec: StudySpec, looks: Sequence[int]) -> float:
    """Return the chance, at most, that of equal arms one is called better or worse now or was at
    one of the earlier looks, or would have been at one that was declared.
    """
    if not looks:
        return ALPHA
    declared = spec.confirm.plan if len(spec.confirm.plan) > 1 else ()
    pairs = sorted({*declared, *looks, spec.confirm.n_seeds})
    bounds = [-NormalDist().inv_cdf(level_at(spec, n) / 2) for n in pairs]
    return min(1.0, (len(spec.arms) - 1) * crossing_chance(pairs, bounds))


def judge(
    spec: StudySpec,
    metric: Metric,
    rows: Sequence[SeedRow],
    arm: str,
    *,
    p: float | None,
    lacking: str | None,
    looks: Sequence[int] = (),
) -> Difference:
    """Return what the paired runs say of an arm.

    Args:
        rows: The confirm seeds; a lost run has the metric's worst value.
        spec: The study, with the confirm seeds that it is judged by.
        p: The arm's p-value, adjusted over all arms; None without pairs.
        lacking: Why there cannot be a verdict, in words; None if there can.
        looks: Numbers of seeds at which verdicts were given before, as from `earlier_looks`.
    """
    baseline = spec.arms[0].name
    pairs = _paired(rows, arm, baseline)
    gains = [metric.sign * (a - b) for a, b in pairs]
    numbers = _numbers(spec, metric, pairs, gains) if pairs else {}
    difference = Difference(
        arm=arm,
        baseline=baseline,
        verdict="undecided",
        sentence="",
        n=len(pairs),
        n_declared=spec.n_pairs,
        p_value=p,
        **numbers,
    )
    if lacking:
        so_far = f" So far: {facts(spec, metric, difference)}." if pairs else ""
        return difference.model_copy(update={"sentence": f"No verdict: {lacking}.{so_far}"})
    level = level_at(spec, spec.confirm.n_seeds)
    if difference.gain_interval is None or p is None:
        enough = fewest_pairs(level)
        lacking_seeds = -(-(enough - len(pairs)) // spec.n_points)
        return difference.model_copy(
            update={
                "sentence": too_few(spec, metric, difference, enough),
                "further_seeds": lacking_seeds,
            }
        )
    verdict = decide(
        difference.gain_interval, spec.smallest_difference, p, level * (len(spec.arms) - 1)
    )
    further = (
        _further_seeds(spec, gains, difference.gain_interval.level)
        if verdict == "undecided"
        else None
    )
    judged = difference.model_copy(update={"verdict": verdict, "further_seeds": further})
    words = sentence(spec, metric, rows, judged)
    plan = spec.confirm.plan
    if looks:
        together = nominal_levels(
            [*looks, spec.confirm.n_seeds], shape=POCOCK, alpha=alpha_each(spec)
        )[0] * (len(spec.arms) - 1)
        declared = together if len(plan) == 1 else None
        words += looked_before(
            judged,
            looks,
            chance=false_verdict_chance(spec, looks),
            nominal=ALPHA,
            declared=declared,
        )
    elif len(plan) > 1:
        words += planned_look(
            judged,
            plan,
            spec.confirm.n_seeds,
            boundary=spec.confirm.boundary,
            level=level,
            n_comparisons=len(spec.arms) - 1,
            overall=ALPHA,
        )
    return judged.model_copy(update={"sentence": words})


def decide(
    interval: Interval, smallest_difference: float, p: float, alpha: float = ALPHA
) -> Verdict:
    """Return what an interval of the gain says, held against the smallest difference that matters.

    `helps` if it lies above 0 and reaches beyond the smallest difference, `hurts` likewise below,
    `no_difference` if it lies within the smallest difference on both sides, else `undecided`.
    Helping and hurting need the exact test too (p at most alpha), so that of two equal arms one is
    called better or worse in at most this share of studies, whatever the distribution.

    >>> def interval(low, high):
    ...     return Interval(low=low, high=high, level=0.95, method="")
    >>> decide(interval(0.01, 0.05), 0.02, 0.01), decide(interval(0.001, 0.015), 0.02, 0.01), decide(interval(-0.01, 0.05), 0.02, 0.3)
    ('helps', 'no_difference', 'undecided')
    """
    if -smallest_difference < interval.low and interval.high < smallest_difference:
        return "no_difference"
    if p > alpha or interval.low <= 0 <= interval.high:
        return "undecided"
    return "helps" if interval.low > 0 else "hurts"


def _paired(rows: Sequence[SeedRow], arm: str, baseline: str) -> list[tuple[float, float]]:
    pairs = ((row.runs[arm].value, row.runs[baseline].value) for row in rows)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _numbers(
    spec: StudySpec, metric: Metric, pairs: Sequence[tuple[float, float]], gains: Sequence[float]
) -> dict[str, Any]:
    n, alpha = len(pairs), level_at(spec, spec.confirm.n_seeds)
    gain = statistics.fmean(gains)
    base = statistics.fmean(b for _, b in pairs)
    n_better, n_worse = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    share = (n_better + (n - n_better - n_worse) / 2) / n
    enough = n >= fewest_pairs(alpha)
    interval = mean_interval(gains, level=1 - alpha, seed=spec.seed) if enough else None
    middle = interquartile_interval(gains, level=1 - alpha, seed=spec.seed) if enough else None
    return {
        "n_better": n_better,
        "n_worse": n_worse,
        "n_tied": n - n_better - n_worse,
        "mean": statistics.fmean(a for a, _ in pairs),
        "baseline_mean": base,
        "gain": gain,
        "gain_interval": interval,
        "difference": metric.sign * gain,
        "difference_interval": interval and _oriented(interval, metric.sign),
        "relative": metric.sign * gain / abs(base)
        if abs(base) > NEXT_TO_ZERO * abs(gain)
        else None,
        "interquartile_mean": metric.sign * interquartile_mean(gains),
        "interquartile_interval": middle and _oriented(middle, metric.sign),
        "p_better": share,
        "p_better_interval": share_interval(share, n, level=1 - alpha),
        "probability_of_improvement": probability_of_improvement(
            [metric.sign * a for a, _ in pairs], [metric.sign * b for _, b in pairs]
        ),
    }


@functools.cache
def _nominal_levels(plan: tuple[int, ...], shape: float, alpha: float) -> tuple[float, ...]:
    return tuple(
        max(LEAST_LEVEL, level) for level in nominal_levels(plan, shape=shape, alpha=alpha)
    )


def _oriented(interval: Interval, sign: int) -> Interval:
    low, high = sorted((sign * interval.low, sign * interval.high))
    return interval.model_copy(update={"low": low, "high": high})


def _further_seeds(spec: StudySpec, gains: Sequence[float], level: float) -> int | None:
    """Return how many more seeds lead to a verdict four times in five, if these pairs' mean and
    standard deviation are the true ones.
    """
    mean, sd = statistics.fmean(gains), statistics.stdev(gains)
    n = pairs_to_decide(
        len(gains), mean, sd, smallest_difference=spec.smallest_difference, level=level
    )
    return None if n is None else -(-(n - len(gains)) // spec.n_points)
