"""The verdict in words that a manager understands and a statistician signs."""

import math
from collections.abc import Sequence

from gradnoise_service.compare.comparison import LOST, Difference, GridPoint, SeedRow
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric

BOUNDARIES = {"pocock": "Pocock", "obrien_fleming": "O'Brien and Fleming"}


def sentence(spec: StudySpec, metric: Metric, rows: Sequence[SeedRow], d: Difference) -> str:
    """Return a judged difference as a sentence: the verdict, the numbers, how they stand to the
    smallest difference, the lost runs.
    """
    losses = "".join(_losses(metric, rows, name) for name in (d.baseline, d.arm))
    return f"{_claim(d)}: {facts(spec, metric, d)}; {_standing(spec, d)}.{losses}"


def too_few(spec: StudySpec, metric: Metric, d: Difference, enough: int) -> str:
    """Return why so few pairs decide nothing, and what they say so far."""
    so_far = f" Here {facts(spec, metric, d)}." if d.n else ""
    return (
        f"Undecided: {_pairs(spec, d.n)} cannot tell a difference from chance, at least {enough} "
        f"are needed.{so_far}"
    )


def planned_look(
    d: Difference,
    plan: Sequence[int],
    n_seeds: int,
    *,
    boundary: str,
    level: float,
    n_comparisons: int,
    overall: float,
) -> str:
    """Return which of the declared looks a verdict was taken at, and to what it was held, as
    further sentences.

    Args:
        plan: The numbers of seeds of all looks that were declared, the last included.
        n_seeds: The number of seeds of this look.
        boundary: How the chance to err was spread over the looks.
        level: What this look was given of it, for each of the comparisons.
        overall: The chance over all looks and comparisons.
    """
    each = (
        f" for each of {n_comparisons} comparisons (p, times their number, must be at most "
        f"{n_comparisons * level:.2g})"
    )
    each = each if n_comparisons > 1 else ""
    words = (
        f" This is look {plan.index(n_seeds) + 1} of the {len(plan)} that were declared, at "
        f"{n_seeds} of {plan[-1]} seeds: interval and"
        f" test are held to {100 * level:.2g} % here{each} ({BOUNDARIES[boundary]}), so that over "
        "all looks equal arms are called better or"
        f" worse in at most {100 * overall:.2g} % of studies."
    )
    if n_seeds == plan[-1] or d.verdict == "undecided":
        return words
    return (
        f"{words} The study ended early: the other {_seeds(plan[-1] - n_seeds)} "
        f"{'was' if plan[-1] - n_seeds == 1 else 'were'} not needed."
    )


def looked_before(
    d: Difference, looks: Sequence[int], *, chance: float, nominal: float, declared: float | None
) -> str:
    """Return what earlier verdicts on fewer seeds do to this one, as a further sentence.

    Args:
        looks: The numbers of seeds of the earlier verdicts.
        chance: That of equal arms one is called different at any look.
        nominal: The same chance with one look.
        declared: The p-value up to which each look would have been significant, had so many been
            declared; None where some were.
    """
    at = " and ".join(map(str, looks))
    words = (
        f" This is verdict {len(looks) + 1} of the study, after {at} seeds: looked at so often, of "
        "equal arms one is called better or"
        f" worse in up to {100 * chance:.2g} % of studies, not in {100 * nominal:.2g} %"
    )
    if declared is None:
        return f"{words}; the study was extended beyond the looks that it declared."
    kept = (
        ""
        if d.p_value is None
        else ", which this one is"
        if d.p_value <= declared
        else ", which this one is not"
    )
    return (
        f"{words}; had the looks been declared, each would be held to p of at most {declared:.2g} "
        f"(Pocock){kept}."
    )


def facts(spec: StudySpec, metric: Metric, d: Difference) -> str:
    """Return the numbers of a difference that has at least one pair."""
    better = "" if metric.direction == "maximize" else " (smaller is better)"
    text = (
        f"mean {metric.name}{better} {short(d.mean)} against {d.baseline}'s "
        f"{short(d.baseline_mean)}"
    )
    text += f", a difference of {signed(d.difference)}"
    if d.difference_interval is not None:
        i = d.difference_interval
        ends = f"{confidence(i.level)} interval {signed(i.low)} to {signed(i.high)}"
        text += f" ({ends if i.low < i.high else 'the same in every pair'})"
    ties = f", tied in {d.n_tied}" if d.n_tied else ""
    return f"{text} over {_pairs(spec, d.n)}, better in {d.n_better}{ties}"


def at_best(points: Sequence[GridPoint], arm: str, sign: int) -> str:
    """Return an arm's best mean over the seeds of a setting, and what tells this setting from the
    others: `0.958 at lr 0.1`.
    """
    means = [(mean, point.params) for point in points if (mean := point.runs[arm].mean) is not None]
    mean, best = max(means, key=lambda found: sign * found[0])
    told = {
        name: value
        for name, value in best.items()
        if any(point.params[name] != value for point in points)
    }
    setting = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in told.items()
    )
    return f"{short(mean)} at {', '.join(setting)}"


def signed(value: float | None) -> str:
    """Return a difference with its sign, a dash for none.

    >>> signed(0.70786), signed(-0.02), signed(0.0), signed(None), signed(-1029.6)
    ('+0.708', '−0.02', '0', '–', '−1,030')
    """
    return "–" if value is None else f"{'+' if value > 0 else ''}{short(value)}"


def short(value: float | None) -> str:
    """Return a value with the three digits that matter.

    >>> short(0.70786), short(-1029.6), short(-0.0), short(5e7), short(None)
    ('0.708', '−1,030', '0', '5e+07', '–')
    """
    if value is None:
        return "–"
    text = f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−", 1) if value < 0 else text if value else "0"


def confidence(level: float) -> str:
    """Return a confidence level in percent, with two digits of what is missing to 100: the levels
    of early looks come close to it.

    >>> confidence(0.95), confidence(0.975), confidence(1 - 0.05 / 9), confidence(1 - 5.7e-10)
    ('95 %', '97.5 %', '99.44 %', '99.999999943 %')
    """
    missing = 100 * (1 - level)
    text = f"{100 * level:.{max(1, 1 - math.floor(math.log10(missing)))}f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def _claim(d: Difference) -> str:
    if d.verdict == "no_difference":
        return f"{d.arm} makes no difference that matters"
    return (
        f"Undecided whether {d.arm} helps or hurts"
        if d.verdict == "undecided"
        else f"{d.arm} {d.verdict}"
    )


def _standing(spec: StudySpec, d: Difference) -> str:
    interval = d.gain_interval
    assert interval is not None
    smallest = f"{spec.smallest_difference:.4g}"
    declared = f"{smallest}, the smallest difference that was declared to matter"
    if d.verdict == "no_difference":
        return f"the interval lies within ±{declared}"
    if d.verdict == "undecided":
        if interval.low <= 0 <= interval.high:
            why = f"the interval holds 0 and differences that matter ({smallest} or more)"
        else:
            why = (
                "the interval leaves out 0, but the exact signed-rank test does not bear it out "
                f"(p = {d.p_value:.2g})"
            )
        if d.further_seeds is None:
            return (
                f"{why}; a million paired seeds would hardly decide, if the differences go on like "
                "this"
            )
        every = "" if spec.search else " of every setting"
        more = f"{d.further_seeds} more paired {'seed' if d.further_seeds == 1 else 'seeds'}{every}"
        return f"{why}; about {more} would decide, if the differences go on like this"
    if min(abs(interval.low), abs(interval.high)) >= spec.smallest_difference:
        return f"all of the interval lies beyond {declared}"
    return f"whether by as much as {declared}, is not settled"


def _pairs(spec: StudySpec, n: int) -> str:
    """Say how many pairs there are: one for each seed, without a search for each setting and seed."""
    if spec.search:
        return _seeds(n)
    settings = "setting" if spec.n_points == 1 else "settings"
    return (
        f"{n} {'pair' if n == 1 else 'pairs'} of runs ({spec.n_points} {settings}, "
        f"{spec.confirm.n_seeds} seeds)"
    )


def _seeds(n: int) -> str:
    return f"{n} paired {'seed' if n == 1 else 'seeds'}"


def _losses(metric: Metric, rows: Sequence[SeedRow], arm: str) -> str:
    n = sum(row.runs[arm].outcome in LOST for row in rows)
    verbs = "was lost and counts" if n == 1 else "were lost and count"
    return f" {n} of {arm}'s {len(rows)} runs {verbs} as {metric.worst:.4g}." if n else ""
