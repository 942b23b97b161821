"""The verdict on each arm: paired runs in, Differences out."""

import itertools
import statistics
from collections.abc import Mapping, Sequence

from gradnoise_service.compare import anytime
from gradnoise_service.compare.description import described, gains_of, paired
from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.comparison import Difference, Reason, Untrained
from gradnoise_service.compare.facts.findings import NoVerdict, TooFewPairs
from gradnoise_service.compare.facts.tables import SeedRow
from gradnoise_service.compare.losses import loss_bound
from gradnoise_service.compare.no_verdict import (
    fault,
    has_numbers,
    not_learned,
)
from gradnoise_service.compare.power import pairs_to_decide
from gradnoise_service.compare.ranks import holm
from gradnoise_service.compare.searches import (
    further_searches,
    is_precise,
    p_of_searches,
    searches,
)
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.tables import Tables
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric, Verdict


def differences(
    design: Design,
    metric: Metric,
    tables: Tables,
    waiting: NoVerdict | None,
    untrained: Untrained | None = None,
    dropped: Mapping[str, Difference] | None = None,
) -> tuple[Difference, ...]:
    """Return each further arm against the first.

    Args:
        design: The design at its present look.
        metric: The objective; `worst` is the value that a lost confirm run counts as.
        tables: Of the design's trials.
        waiting: Why no verdict is given yet; None once every declared trial has ended.
        untrained: The value without training; None if it was not measured.
        dropped: The differences of the arms that were dropped at an earlier look; they stay.
    """
    earlier = dropped or {}
    baseline, *others = tables.arms
    arms = [arm for arm in others if arm.name not in earlier]
    counted = {arm.name: _counted(design, tables.seeds, arm.name) for arm in arms}
    faults = {
        arm.name: fault(design, baseline, arm, counted[arm.name], waiting)
        or not_learned(design, metric, (baseline.name, arm.name), tables.seeds, untrained)
        for arm in arms
    }
    rows = {arm: counted[arm] if has_numbers(found) else () for arm, found in faults.items()}
    raw = {arm: p_value(design, pairs, arm) for arm, pairs in rows.items()}
    p_values = adjusted(design, {arm: p for arm, p in raw.items() if p is not None})
    judged = {
        arm: judge(design, metric, rows[arm], arm, p=p_values.get(arm), no_verdict=found)
        for arm, found in faults.items()
    }
    return tuple({**judged, **earlier}[arm.name] for arm in others)


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
    pairs = paired(rows, arm, design.baseline.name)
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


def decide(
    interval: Interval,
    smallest_difference: float,
    p: float,
    alpha: float = ALPHA,
    *,
    may_drop: bool = False,
) -> tuple[Verdict, Reason]:
    """Return the verdict of an interval of the gain, and its reason.

    `helps` if the interval lies above 0 and reaches the smallest difference that matters, `hurts`
    likewise below, `no_difference` if it lies within the smallest difference on both sides, else
    `undecided`. `helps` and `hurts` need the exact test too (p at most alpha), which bounds the
    probability of a false verdict for any distribution. At a look at which arms may be dropped, an
    undecided interval below the smallest difference has a reason of its own.

    >>> def decided(low, high, p):
    ...     return decide(Interval(low=low, high=high, level=0.95, method="bca"), 0.02, p)
    >>> decided(0.01, 0.05, 0.01), decided(0.001, 0.015, 0.01)
    (('helps', 'interval_excludes_zero'), ('no_difference', 'interval_within'))
    >>> decided(-0.01, 0.05, 0.3), decided(0.01, 0.05, 0.3)
    (('undecided', 'interval_includes_zero'), ('undecided', 'test_not_significant'))
    """
    if -smallest_difference < interval.low and interval.high < smallest_difference:
        return "no_difference", "interval_within"
    is_open = interval.low <= 0 <= interval.high or p > alpha
    if may_drop and is_open and interval.high < smallest_difference:
        return "undecided", "interval_below"
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
    found = described(design, metric, rows, arm, p)
    if no_verdict is not None:
        return found.model_copy(update={"no_verdict": no_verdict})
    if found.gain_interval is None or p is None:
        fewest = design.fewest_pairs
        return found.model_copy(
            update={
                "no_verdict": TooFewPairs(n_needed=fewest),
                "further_seeds": _seeds(design, fewest - found.n),
            }
        )
    delta, alpha = design.spec.smallest_difference, design.level * design.n_comparisons
    may_drop = design.drops and not design.is_last_look
    verdict, reason = decide(found.gain_interval, delta, p, alpha, may_drop=may_drop)
    if found.searches is not None and not is_precise(found.searches, design.level):
        verdict, reason = "undecided", "test_not_significant"
    changes: dict[str, object] = {"verdict": verdict, "reason": reason}
    if reason == "interval_below":
        return found.model_copy(update=changes)
    if verdict == "undecided" and found.searches is not None:
        level = found.gain_interval.level
        further = further_searches(design, found.searches, level)
        changes["searches"] = found.searches.model_copy(update={"further": further})
    elif verdict == "undecided":
        gains = gains_of(metric, paired(rows, arm, design.baseline.name))
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
