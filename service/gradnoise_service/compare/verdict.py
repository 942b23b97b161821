"""The verdict on each arm: paired runs in, Differences out."""

import itertools
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from gradnoise_service.compare import anytime
from gradnoise_service.compare.facts.base import LOST, Interval
from gradnoise_service.compare.facts.comparison import Difference, Reason, Untrained, Verdict
from gradnoise_service.compare.facts.findings import (
    EveryRunFailed,
    EveryRunLost,
    EveryTrialLost,
    NeitherLearned,
    NoSetting,
    NoVerdict,
    TooFewPairs,
    Waiting,
)
from gradnoise_service.compare.facts.tables import ArmSummary, SeedRow
from gradnoise_service.compare.intervals import (
    interquartile_interval,
    interquartile_mean,
    mean_interval,
    share_interval,
)
from gradnoise_service.compare.losses import loss_bound
from gradnoise_service.compare.power import pairs_to_decide
from gradnoise_service.compare.ranks import holm, probability_of_improvement, signed_rank_p
from gradnoise_service.compare.searches import (
    further_searches,
    p_of_searches,
    searches,
    welch_interval,
)
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.tables import Tables
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Metric

SELECTING: tuple[Phase, ...] = ("search", "rerun")
"""Phases that select an arm's setting."""
NEXT_TO_ZERO = 1e-9
"""A baseline's mean below this share of a difference is a rounding error of 0."""


def differences(
    design: Design,
    metric: Metric,
    tables: Tables,
    waiting: NoVerdict | None,
    untrained: Untrained | None = None,
) -> tuple[Difference, ...]:
    """Return each further arm against the first.

    Args:
        design: The design at its present look.
        metric: The objective; `worst` is the value that a lost confirm run counts as.
        tables: Of the design's trials.
        waiting: Why no verdict is given yet; None once every declared trial has ended.
        untrained: The value without training; None if it was not measured.
    """
    baseline = tables.arms[0]
    counted = {arm.name: _counted(design, tables.seeds, arm.name) for arm in tables.arms[1:]}
    faults = {
        arm.name: _no_verdict(design, baseline, arm, counted[arm.name], waiting)
        or _not_learned(design, metric, (baseline.name, arm.name), tables.seeds, untrained)
        for arm in tables.arms[1:]
    }
    rows = {arm: counted[arm] if _has_numbers(fault) else () for arm, fault in faults.items()}
    raw = {arm: p_value(design, pairs, arm) for arm, pairs in rows.items()}
    p_values = adjusted(design, {arm: p for arm, p in raw.items() if p is not None})
    return tuple(
        judge(design, metric, rows[arm], arm, p=p_values.get(arm), no_verdict=fault)
        for arm, fault in faults.items()
    )


def adjusted(design: Design, p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the arms' p-values adjusted for their number.

    Holm's adjustment; with several looks Bonferroni's, because Holm's does not control the error
    over the looks.
    """
    if design.is_sequential or design.is_anytime:
        return {arm: min(1.0, design.n_comparisons * p) for arm, p in p_values.items()}
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def p_value(design: Design, rows: Sequence[SeedRow], arm: str) -> float | None:
    """Return the arm's p-value before adjustment; None without pairs.

    That of the sign-flip test, or of repeated searches, or the always-valid one.
    """
    if design.n_repeats > 1:
        found = searches(design, rows, arm)
        return p_of_searches(found, design.level) if found else None
    pairs = _paired(rows, arm, design.baseline.name)
    test = anytime.anytime_p if design.is_anytime else sign_flip_p
    return test([a - b for a, b in pairs]) if pairs else None


def judge(
    design: Design,
    metric: Metric,
    rows: Sequence[SeedRow],
    arm: str,
    *,
    p: float | None,
    no_verdict: NoVerdict | None = None,
) -> Difference:
    """Return the difference of an arm with its verdict.

    Args:
        metric: The objective; `worst` is the value that a lost confirm run counts as.
        rows: The confirm runs; a lost run has the metric's worst value.
        p: The arm's p-value, adjusted over all arms; None without pairs.
        no_verdict: Why there is no verdict; None if there can be one.
    """
    found = _judged(design, metric, rows, arm, p, no_verdict)
    if not found.n:
        return found
    sides = [(row.runs[arm], row.runs[found.baseline]) for row in rows]
    runs, base = zip(*(s for s in sides if None not in (s[0].value, s[1].value)), strict=True)
    losses = loss_bound(
        metric,
        found.verdict,
        runs,
        base,
        smallest_difference=design.spec.smallest_difference,
        level=1 - design.level,
    )
    return found.model_copy(update={"losses": losses})


def fewest_pairs(design: Design) -> int:
    """Return the fewest pairs of runs that can give a verdict at the design's seeds."""
    return anytime.fewest_pairs(design.level) if design.is_anytime else design.fewest_pairs


def decide(
    interval: Interval, smallest_difference: float, p: float, alpha: float = ALPHA
) -> tuple[Verdict, Reason]:
    """Return the verdict of an interval of the gain, and its reason.

    `helps` if the interval lies above 0 and reaches the smallest difference that matters, `hurts`
    likewise below, `no_difference` if it lies within the smallest difference on both sides, else
    `undecided`. `helps` and `hurts` need the exact test too (p at most alpha), which bounds the
    probability of a false verdict for any distribution.

    >>> def decided(low, high, p):
    ...     return decide(Interval(low=low, high=high, level=0.95, method="bca"), 0.02, p)
    >>> decided(0.01, 0.05, 0.01), decided(0.001, 0.015, 0.01)
    (('helps', 'interval_excludes_zero'), ('no_difference', 'interval_within'))
    >>> decided(-0.01, 0.05, 0.3), decided(0.01, 0.05, 0.3)
    (('undecided', 'interval_includes_zero'), ('undecided', 'test_not_significant'))
    """
    if -smallest_difference < interval.low and interval.high < smallest_difference:
        return "no_difference", "interval_within"
    if interval.low <= 0 <= interval.high:
        return "undecided", "interval_includes_zero"
    if p > alpha:
        return "undecided", "test_not_significant"
    is_beyond = min(abs(interval.low), abs(interval.high)) >= smallest_difference
    verdict: Verdict = "helps" if interval.low > 0 else "hurts"
    return verdict, "interval_beyond" if is_beyond else "interval_excludes_zero"


def _judged(
    design: Design,
    metric: Metric,
    rows: Sequence[SeedRow],
    arm: str,
    p: float | None,
    no_verdict: NoVerdict | None,
) -> Difference:
    found = _described(design, metric, rows, arm, p)
    if no_verdict is not None:
        return found.model_copy(update={"no_verdict": no_verdict})
    if found.gain_interval is None or p is None:
        fewest = fewest_pairs(design)
        return found.model_copy(
            update={
                "no_verdict": TooFewPairs(n_needed=fewest),
                "further_seeds": _seeds(design, fewest - found.n),
            }
        )
    delta, alpha = design.spec.smallest_difference, design.level * design.n_comparisons
    verdict, reason = decide(found.gain_interval, delta, p, alpha)
    changes: dict[str, object] = {"verdict": verdict, "reason": reason}
    if verdict == "undecided" and found.searches is not None:
        level = found.gain_interval.level
        further = further_searches(design, found.searches, level)
        changes["searches"] = found.searches.model_copy(update={"further": further})
    elif verdict == "undecided":
        gains = _gains(metric, _paired(rows, arm, design.baseline.name))
        changes["further_seeds"] = _further_seeds(design, gains, found.gain_interval.level)
    return found.model_copy(update=changes)


def _counted(design: Design, rows: Sequence[SeedRow], arm: str) -> Sequence[SeedRow]:
    """Return the rows that count: with an always-valid verdict, those before any that is open."""
    if not design.is_anytime:
        return rows
    sides = (arm, design.baseline.name)
    return tuple(
        itertools.takewhile(lambda row: all(row.runs[s].value is not None for s in sides), rows)
    )


def _no_verdict(
    design: Design,
    baseline: ArmSummary,
    arm: ArmSummary,
    rows: Sequence[SeedRow],
    waiting: NoVerdict | None,
) -> NoVerdict | None:
    """Return why an arm has no verdict: it is waiting, or cannot be compared."""
    if waiting is not None and not (design.is_anytime and len(rows) >= fewest_pairs(design)):
        return waiting
    return _fault(baseline, arm, rows)


def _fault(baseline: ArmSummary, arm: ArmSummary, rows: Sequence[SeedRow]) -> NoVerdict | None:
    """Return why an arm whose runs have ended cannot be compared with the baseline."""
    for side in (baseline, arm):
        if not side.has_settings:
            return NoSetting(arm=side.name)
        if any(chosen.number is not None and chosen.search_value is None for chosen in side.chosen):
            return EveryTrialLost(arm=side.name, phase="search")
        lost = (phase for phase in SELECTING if side.tallies[phase].is_lost)
        if phase := next(lost, None):
            return EveryTrialLost(arm=side.name, phase=phase)
        if rows and all(row.runs[side.name].outcome == "failed" for row in rows):
            return EveryRunFailed(arm=side.name)
    outcomes = {row.runs[side.name].outcome for row in rows for side in (baseline, arm)}
    return None if "complete" in outcomes else EveryRunLost()


def _not_learned(
    design: Design,
    metric: Metric,
    arms: Sequence[str],
    rows: Sequence[SeedRow],
    untrained: Untrained | None,
) -> NeitherLearned | None:
    """Return that no complete run is better than the untrained model by the smallest difference."""
    if untrained is None:
        return None
    runs = [row.runs[arm] for row in rows for arm in arms]
    values = [metric.sign * run.value for run in runs if run.value is not None]
    if max(values) - metric.sign * untrained.best >= design.spec.smallest_difference:
        return None
    return NeitherLearned(best=untrained.best, n_seeds=untrained.n_seeds)


def _has_numbers(fault: NoVerdict | None) -> bool:
    return fault is None or isinstance(fault, Waiting | NeitherLearned)


def _described(
    design: Design, metric: Metric, rows: Sequence[SeedRow], arm: str, p: float | None
) -> Difference:
    """Return the numbers of a difference, without a verdict."""
    baseline = design.baseline.name
    pairs = _paired(rows, arm, baseline)
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
    gains = _gains(metric, pairs)
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
        welch = welch_interval(found, metric.sign, level=level)
        described = _with_means(counted, metric, found.means, found.baseline_means, welch)
        return described.model_copy(update={"searches": found})
    has_interval, seed = len(pairs) >= design.fewest_pairs, design.spec.seed
    interval = mean_interval(gains, level=level, seed=seed) if has_interval else None
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


def _mean_interval(design: Design, gains: Sequence[float]) -> Interval:
    level = 1 - design.level
    if design.is_anytime:
        return anytime.anytime_interval(gains, level=level)
    return mean_interval(gains, level=level, seed=design.spec.seed)


def _paired(rows: Sequence[SeedRow], arm: str, baseline: str) -> list[tuple[float, float]]:
    pairs = ((row.runs[arm].value, row.runs[baseline].value) for row in rows)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _sides(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def _gains(metric: Metric, pairs: Sequence[tuple[float, float]]) -> list[float]:
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


def _further_seeds(design: Design, gains: Sequence[float], level: float) -> int | None:
    """Return the further seeds that decide with probability 0.8.

    The mean and the standard deviation of these pairs are assumed to be the true ones. For an
    always-valid verdict, these pairs are assumed to repeat.
    """
    mean, sd = statistics.fmean(gains), statistics.stdev(gains)
    delta = design.spec.smallest_difference
    if design.is_anytime:
        n = anytime.pairs_to_decide(gains, smallest_difference=delta, level=level)
    else:
        n = pairs_to_decide(len(gains), mean, sd, smallest_difference=delta, level=level)
    return None if n is None else _seeds(design, n - len(gains))


def _seeds(design: Design, n_pairs: int) -> int:
    """Return the seeds that give a number of pairs: each gives a pair for each setting."""
    return -(-n_pairs // design.n_settings)
