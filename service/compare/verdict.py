"""The verdict on one arm: paired runs in, a Difference with its sentence out."""

import statistics
from collections.abc import Sequence
from typing import Any

from service.compare.comparison import LOST, Difference, Interval, SeedRow, Verdict
from service.compare.intervals import fewest_pairs, mean_interval, pairs_needed, share_interval, signed_rank_p
from service.domain.spec import StudySpec
from service.domain.study import Metric

ALPHA = 0.05


def alpha_each(spec: StudySpec) -> float:
    """Return the error that each comparison with the baseline may have, so that all together have at most 5 % (Bonferroni)."""
    return ALPHA / (len(spec.arms) - 1)


def paired(rows: Sequence[SeedRow], arm: str, baseline: str) -> list[tuple[float, float]]:
    """Return the values of arm and baseline on each seed where both have one."""
    pairs = ((row.runs[arm].value, row.runs[baseline].value) for row in rows)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def p_value(spec: StudySpec, rows: Sequence[SeedRow], arm: str) -> float | None:
    """Return the arm's signed-rank p-value before adjustment, None without pairs."""
    pairs = paired(rows, arm, spec.arms[0].name)
    return signed_rank_p([a - b for a, b in pairs], seed=spec.seed) if pairs else None


def judge(spec: StudySpec, metric: Metric, rows: Sequence[SeedRow], arm: str, *, p: float | None, lacking: str | None) -> Difference:
    """Return what the paired runs say of an arm.

    Args:
        rows: The confirm seeds; a lost run has the metric's worst value.
        p: The arm's p-value, adjusted over all arms; None without pairs.
        lacking: Why there cannot be a verdict, in words; None if there can.
    """
    baseline = spec.arms[0].name
    pairs = paired(rows, arm, baseline)
    gains = [metric.sign * (a - b) for a, b in pairs]
    numbers = _numbers(spec, metric, pairs, gains) if pairs else {}
    difference = Difference(
        arm=arm, baseline=baseline, verdict="undecided", sentence="", n=len(pairs), n_declared=spec.confirm.n_seeds, p_value=p, **numbers
    )
    if lacking:
        so_far = f" So far: {_facts(metric, difference)}." if pairs else ""
        return difference.model_copy(update={"sentence": f"No verdict: {lacking}.{so_far}"})
    enough = fewest_pairs(alpha_each(spec))
    if len(pairs) < enough or difference.gain_interval is None or p is None:
        sentence = f"Undecided: {_seeds(len(pairs))} cannot tell a difference from chance, at least {enough} are needed."
        short = enough - len(pairs)
        return difference.model_copy(update={"sentence": f"{sentence} Here {_facts(metric, difference)}.", "further_seeds": short})
    verdict = decide(difference.gain_interval, spec.smallest_difference, p)
    further = _further_seeds(gains, spec.smallest_difference, difference.gain_interval.level) if verdict == "undecided" else None
    judged = difference.model_copy(update={"verdict": verdict, "further_seeds": further})
    return judged.model_copy(update={"sentence": _sentence(spec, metric, rows, judged)})


def decide(interval: Interval, smallest_difference: float, p: float) -> Verdict:
    """Return what an interval of the gain says, held against the smallest difference that matters.

    `helps` if it lies above 0 and reaches beyond the smallest difference, `hurts` likewise below, `no_difference` if it lies within the
    smallest difference on both sides, else `undecided`. Helping and hurting need the exact test too (p at most 5 %), so that of two equal
    arms one is called better or worse in at most 5 % of studies, whatever the distribution.

    >>> def interval(low, high):
    ...     return Interval(low=low, high=high, level=0.95, method="")
    >>> decide(interval(0.01, 0.05), 0.02, 0.01), decide(interval(0.001, 0.015), 0.02, 0.01), decide(interval(-0.01, 0.05), 0.02, 0.3)
    ('helps', 'no_difference', 'undecided')
    """
    if -smallest_difference < interval.low and interval.high < smallest_difference:
        return "no_difference"
    if p > ALPHA or interval.low <= 0 <= interval.high:
        return "undecided"
    return "helps" if interval.low > 0 else "hurts"


def _numbers(spec: StudySpec, metric: Metric, pairs: Sequence[tuple[float, float]], gains: Sequence[float]) -> dict[str, Any]:
    gain = statistics.fmean(gains)
    base = statistics.fmean(b for _, b in pairs)
    n_better, n_worse = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    n_tied = len(pairs) - n_better - n_worse
    level = 1 - alpha_each(spec)
    share = (n_better + n_tied / 2) / len(pairs)
    interval = mean_interval(gains, level=level, seed=spec.seed) if len(pairs) > 1 else None
    return {
        "n_better": n_better,
        "n_worse": n_worse,
        "n_tied": n_tied,
        "mean": statistics.fmean(a for a, _ in pairs),
        "baseline_mean": base,
        "gain": gain,
        "gain_interval": interval,
        "difference": metric.sign * gain,
        "difference_interval": interval and _oriented(interval, metric.sign),
        "relative": metric.sign * gain / abs(base) if base else None,
        "p_better": share,
        "p_better_interval": share_interval(share, len(pairs), level=level),
    }


def _oriented(interval: Interval, sign: int) -> Interval:
    low, high = sorted((sign * interval.low, sign * interval.high))
    return interval.model_copy(update={"low": low, "high": high})


def _further_seeds(gains: Sequence[float], smallest_difference: float, level: float) -> int:
    """Return how many more pairs bring the interval clear of 0, or inside the smallest difference, whichever is the nearer."""
    mean = abs(statistics.fmean(gains))
    reachable = max(mean, smallest_difference - mean)
    return max(1, pairs_needed(statistics.stdev(gains), reachable, level=level) - len(gains))


def _sentence(spec: StudySpec, metric: Metric, rows: Sequence[SeedRow], d: Difference) -> str:
    interval = d.gain_interval
    assert interval is not None
    delta = f"{spec.smallest_difference:.4g}"
    if d.verdict == "no_difference":
        claim = f"{d.arm} makes no difference that matters"
        end = f"the interval lies within ±{delta}, the smallest difference that was declared to matter"
    elif d.verdict == "undecided":
        claim = f"Undecided whether {d.arm} helps or hurts"
        if interval.low <= 0 <= interval.high:
            end = f"the interval holds 0 and differences that matter ({delta} or more)"
        else:
            end = f"the interval leaves out 0, but the exact signed-rank test does not bear it out (p = {d.p_value:.2g})"
        end += f"; about {d.further_seeds} more paired seeds would decide, if the differences go on like this"
    else:
        claim = f"{d.arm} {d.verdict}"
        settled = min(abs(interval.low), abs(interval.high)) >= spec.smallest_difference
        least = f"{delta}, the smallest difference that was declared to matter"
        end = f"all of the interval lies beyond {least}" if settled else f"whether by as much as {least}, is not settled"
    lost = "".join(_losses(metric, rows, name) for name in (d.baseline, d.arm))
    return f"{claim}: {_facts(metric, d)}; {end}.{lost}"


def _facts(metric: Metric, d: Difference) -> str:
    better = "" if metric.direction == "maximize" else " (smaller is better)"
    text = f"mean {metric.name}{better} {d.mean:.3g} against {d.baseline}'s {d.baseline_mean:.3g}, a difference of {d.difference:+.3g}"
    if d.difference_interval is not None:
        i = d.difference_interval
        text += f" ({100 * i.level:.4g} % interval {i.low:+.3g} to {i.high:+.3g})"
    ties = f" and tied in {d.n_tied}" if d.n_tied else ""
    return f"{text} over {_seeds(d.n)}, better in {d.n_better}{ties}"


def _seeds(n: int) -> str:
    return f"{n} paired {'seed' if n == 1 else 'seeds'}"


def _losses(metric: Metric, rows: Sequence[SeedRow], arm: str) -> str:
    n = sum(row.runs[arm].outcome in LOST for row in rows)
    return (
        f" {n} of {arm}'s {len(rows)} runs {'was' if n == 1 else 'were'} lost and {'counts' if n == 1 else 'count'} as {metric.worst:.4g}."
        if n
        else ""
    )
