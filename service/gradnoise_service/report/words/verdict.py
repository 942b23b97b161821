"""The verdict on an arm as a sentence: the verdict, its numbers and their meaning, lost runs."""

from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.compare.facts.findings import (
    EveryRunFailed,
    EveryRunLost,
    EveryTrialLost,
    NeitherLearned,
    NoSetting,
    StoppedEarly,
    TooFewPairs,
    Waiting,
)
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.domain.search import MOST_REPEATS
from gradnoise_service.domain.spec import Phase
from gradnoise_service.report.words.anytime import at_any_time
from gradnoise_service.report.words.looks import earlier_verdicts, present_look
from gradnoise_service.report.words.numbers import (
    MISSING,
    confidence,
    count,
    listed,
    number,
    p_value,
    percent,
    signed,
    span,
)
from gradnoise_service.report.words.progress import ended_trials


def sentence(comparison: Comparison, difference: Difference) -> str:
    """Return the sentences of a difference's verdict, or of why there is none."""
    c, d = comparison, difference
    interim = f" So far: {measured(c, d)}." if d.n else ""
    match d.no_verdict:
        case None:
            earlier = earlier_verdicts(c, d) if d.dropped_at is None else ""
            looks = earlier or present_look(c, d) or at_any_time(c, d)
            losses = _losses(c, d) + _possible_losses(d)
            return (
                f"{_claim(c, d)}{_condition(d)}: {measured(c, d)}; {_reason(c, d)}.{losses}{looks}"
            )
        case TooFewPairs(n_needed=n_needed):
            return (
                f"Undecided: {pairs(c, d)} cannot distinguish a difference from chance; at least "
                f"{n_needed} are needed.{interim}"
            )
        case Waiting() as waiting:
            return f"No verdict: {_waiting(c, waiting)}.{interim}"
        case StoppedEarly(phase=phase):
            return f"No verdict: the study was stopped on request in its {phase} phase."
        case NoSetting(arm=arm):
            return f"No verdict: {_no_setting(c.arm(arm))}."
        case EveryTrialLost(arm=arm, phase=phase):
            return (
                f"No verdict: {_every_trial(c.arm(arm), phase)} diverged or failed, so its setting "
                "is not a tuned one."
            )
        case NeitherLearned(best=best, n_seeds=n_seeds):
            return (
                f"Undecided: neither {d.baseline} nor {d.arm} learned. No run is better by "
                f"{number(c.smallest_difference)}, the smallest difference that matters, than the "
                f"untrained model: {c.metric} {number(best)}, the best of "
                f"{count(n_seeds, 'seed')}.{interim}"
            )
        case EveryRunFailed(arm=arm):
            return f"No verdict: every confirm run of {arm} failed with an error."
        case EveryRunLost():
            return f"No verdict: every confirm run of {d.baseline} and of {d.arm} was lost."


def measured(comparison: Comparison, difference: Difference) -> str:
    """Return the numbers of a difference with at least one pair."""
    c, d = comparison, difference
    better = "" if c.direction == "maximize" else " (smaller is better)"
    ties = f", tied in {d.n_tied}" if d.n_tied else ""
    return (
        f"mean {c.metric}{better} {number(d.mean)} against {d.baseline}'s "
        f"{number(d.baseline_mean)}, a difference of {signed(d.difference)}{_interval(d)} over "
        f"{pairs(c, d)}, better in {d.n_better}{ties}"
    )


def pairs(comparison: Comparison, difference: Difference) -> str:
    """Return the number of pairs of runs, and of what: searches, seeds, or settings and seeds."""
    n, n_settings = difference.n, len(comparison.points)
    if difference.searches is not None:
        return f"{difference.searches.n} searches of each arm ({count(n, 'paired seed')})"
    if not n_settings:
        return count(n, "paired seed")
    noun = "pair" if n == 1 else "pairs"
    n_seeds = difference.n_declared // n_settings
    return f"{n} {noun} of runs ({count(n_settings, 'setting')}, {count(n_seeds, 'seed')})"


def _no_setting(arm: ArmSummary) -> str:
    n = len(arm.chosen)
    if n == 1:
        return f"no search trial of {arm.name} is complete, so {arm.name} has no setting to confirm"
    n_without = sum(chosen.setting is None for chosen in arm.chosen)
    return (
        f"{n_without} of {arm.name}'s {n} searches found no setting to confirm, because no trial "
        "is complete"
    )


def _every_trial(arm: ArmSummary, phase: Phase) -> str:
    if phase == "rerun":
        return f"every rerun of {arm.name}"
    n = len(arm.chosen)
    if n == 1:
        return f"every search trial of {arm.name}"
    return f"every trial in {arm.n_untuned} of {arm.name}'s {n} searches"


def _claim(c: Comparison, d: Difference) -> str:
    """Return the verdict with what it is about: a tuning budget, the found settings, or a grid."""
    n_searched, is_repeated = c.arm(d.arm).search.n_declared, d.searches is not None
    budget = count(n_searched // d.searches.n, "trial") if d.searches else ""
    at = " at these settings" if n_searched and not is_repeated else ""
    if d.verdict == "undecided":
        arm = f"{d.arm}, tuned by {budget}," if is_repeated else d.arm
        is_below = d.reason == "interval_below"
        verbs = "hurts or makes no difference that matters" if is_below else "helps or hurts"
        return f"Undecided whether {arm} {verbs}{at}"
    scope = f"Tuned by {budget}, " if is_repeated else f"{at.strip().capitalize()}, " if at else ""
    if d.verdict == "no_difference":
        return f"{scope}{d.arm} makes no difference that matters"
    return f"{scope}{d.arm} {d.verdict}"


def _condition(d: Difference) -> str:
    """Return the condition of a verdict that losses would end."""
    if d.losses is None or not (d.losses.arm_matters or d.losses.baseline_matters):
        return ""
    return " if no more runs are lost" if d.n_lost or d.baseline_n_lost else " if runs are not lost"


def _interval(d: Difference) -> str:
    interval = d.difference_interval
    if interval is None:
        return ""
    if interval.low == interval.high:
        return f" (the same in every {'search' if d.searches else 'pair'})"
    return f" ({confidence(interval.level)} interval {span(interval)})"


def _reason(c: Comparison, d: Difference) -> str:
    smallest = number(c.smallest_difference)
    matters = f"{smallest}, the smallest difference that matters"
    match d.reason:
        case "interval_within":
            return (
                f"the interval lies within ±{matters} (an equivalence test, {_side(d)} on each "
                "side)"
            )
        case "interval_beyond":
            return f"the whole interval lies beyond {matters}"
        case "interval_excludes_zero":
            return f"the interval excludes 0 but not differences below {matters}"
        case "interval_below":
            return f"the interval excludes a gain of {matters}"
        case "interval_includes_zero":
            why = f"the interval includes both 0 and differences that matter ({smallest} or more)"
            return f"{why}; {_further_runs(c, d)}"
        case _:
            why = (
                "the interval excludes 0, but the sign-flip test is not significant "
                f"(p = {p_value(d.p_value)})"
            )
            if d.searches is not None and not d.searches.standard_error:
                why = "equal searches do not show how precise the difference is"
            return f"{why}; {_further_runs(c, d)}"


def _further_runs(c: Comparison, d: Difference) -> str:
    """Return how many further searches or seeds would decide."""
    unchanged = "if mean and spread stay as they are"
    if d.searches is not None:
        n = d.searches.further
        if n is None:
            return f"{unchanged}, even {MOST_REPEATS} searches of each arm would not decide"
        more = "1 more search" if n == 1 else f"{n:,} more searches"
        return f"{unchanged}, about {more} of each arm would decide (`repeats: {d.searches.n + n}`)"
    if d.further_seeds is None:
        most = "10,000" if c.anytime else "a million"
        return f"{unchanged}, even {most} paired seeds would not decide"
    seeds = count(d.further_seeds, "more paired seed")
    each = " of every setting" if c.points else ""
    return f"{unchanged}, about {seeds}{each} would decide"


def _losses(c: Comparison, d: Difference) -> str:
    counts = {d.baseline: d.baseline_n_lost, d.arm: d.n_lost}
    return "".join(_lost(c, arm, n, d.n_declared) for arm, n in counts.items() if n)


def _lost(c: Comparison, arm: str, n: int, n_declared: int) -> str:
    verbs = "was lost and counts" if n == 1 else "were lost and count"
    return f" {n} of {arm}'s {n_declared} runs {verbs} as {number(c.worst)}."


def _possible_losses(d: Difference) -> str:
    """Return the loss rates that the runs allow, of the arms whose losses would end the verdict."""
    if d.losses is None:
        return ""
    found = d.losses
    sides = (
        (found.arm_matters, d.arm, d.n_lost, found.bound, found.limit),
        (
            found.baseline_matters,
            d.baseline,
            d.baseline_n_lost,
            found.baseline_bound,
            found.baseline_limit,
        ),
    )
    end = (
        "the difference matters"
        if d.verdict == "no_difference"
        else f"{d.arm} no longer {d.verdict}"
    )
    return "".join(
        f" With {n_lost or 'none'} of {arm}'s {d.n} runs lost, its loss rate is at most "
        f"{percent(bound)} ({confidence(found.level)} confidence); from {percent(limit)} on, {end}."
        for matters, arm, n_lost, bound, limit in sides
        if matters
    )


def _side(d: Difference) -> str:
    """Return the error probability of each of the two one-sided tests of an equivalence test."""
    return percent((1 - d.gain_interval.level) / 2) if d.gain_interval else MISSING


def _waiting(c: Comparison, waiting: Waiting) -> str:
    cancelled = _cancelled(waiting.n_cancelled)
    looks = (
        f"; undecided so far, at {listed(waiting.undecided_at)} seeds"
        if waiting.undecided_at
        else ""
    )
    return (
        f"it is given once every declared trial has ended; {ended_trials(c)} have ended"
        f"{cancelled}{looks}"
    )


def _cancelled(n: int) -> str:
    if n == 0:
        return ""
    return "; 1 trial was cancelled" if n == 1 else f"; {n} trials were cancelled"
