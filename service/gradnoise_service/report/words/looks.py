"""Sentences on the looks of a study: the declared ones, and verdicts before an extension."""

from gradnoise_service.compare.facts.comparison import Comparison, Difference, Plan
from gradnoise_service.domain.confirm import Boundary
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.report.words.numbers import count, level, listed, p_value, percent

BOUNDARIES: dict[Boundary, str] = {
    "pocock": "Pocock",
    "obrien_fleming": "O'Brien and Fleming",
}


def present_look(comparison: Comparison, difference: Difference) -> str:
    """Return at which declared look a verdict is taken, and at which level; empty without looks."""
    plan = comparison.plan and comparison.plan.of(difference)
    if plan is None or plan.n_seeds not in plan.looks:
        return ""
    return (
        f" This is look {plan.looks.index(plan.n_seeds) + 1} of the {len(plan.looks)} declared "
        f"looks, at {plan.n_seeds} of {plan.looks[-1]} seeds: interval and test use "
        f"{BOUNDARIES[plan.boundary]}'s level of {level(plan.level)}{_each(comparison, plan)}, so "
        f"that over all looks equal arms are called different in at most {level(ALPHA)} of studies."
        f"{_early_end(plan, difference)}"
    )


def earlier_verdicts(comparison: Comparison, difference: Difference) -> str:
    """Return how earlier verdicts affect this one; empty if there were none."""
    c, d = comparison, difference
    if c.lengths:
        return f" {longer_runs(c)}"
    if not c.looks:
        return ""
    earlier = "a verdict" if len(c.looks) == 1 else "verdicts"
    looks = (
        f" This is verdict {len(c.looks) + 1} of the study, after {earlier} at {listed(c.looks)} "
        "seeds: over these looks equal arms are called different in about "
        f"{percent(c.false_verdict_chance)} of studies, not in {level(ALPHA)}"
    )
    if c.pocock_level is None:
        return f"{looks}; the study was extended beyond its declared looks."
    return (
        f"{looks}; had the looks been declared, each would require p of at most "
        f"{p_value(c.pocock_level)} (Pocock){_would_hold(d, c.pocock_level)}."
    )


def longer_runs(c: Comparison) -> str:
    """Return that the confirm runs were trained on after a verdict, and the error that this adds;
    empty if they were not.
    """
    if not c.lengths:
        return ""
    *before, last = c.lengths
    earlier = "a verdict" if len(before) == 1 else "verdicts"
    seeds = f", and verdicts were given at {listed(c.looks)} seeds before" if c.looks else ""
    return (
        f"The confirm runs were trained on to {count(last, 'epoch')} after {earlier} at "
        f"{listed(before)} epochs had been seen{seeds}: over all verdicts equal arms are called "
        f"different in at most about {percent(c.false_verdict_chance)} of studies, not in "
        f"{level(ALPHA)}. The verdict is on the longer training; the settings were chosen for the "
        "shorter."
    )


def _each(c: Comparison, plan: Plan) -> str:
    n = len(c.differences)
    if n == 1:
        return ""
    return (
        f" for each of {n} comparisons (p, multiplied by {n}, must be at most "
        f"{p_value(n * plan.level)})"
    )


def _early_end(plan: Plan, d: Difference) -> str:
    spared = plan.looks[-1] - plan.n_seeds
    if not spared or (d.verdict == "undecided" and d.reason != "interval_below"):
        return ""
    ended = "The study ended" if d.dropped_at is None else f"{d.arm} was dropped"
    verb = "was" if spared == 1 else "were"
    return f" {ended} early: the other {count(spared, 'paired seed')} {verb} not needed."


def _would_hold(d: Difference, pocock_level: float) -> str:
    if d.p_value is None:
        return ""
    return f", which this verdict {'meets' if d.p_value <= pocock_level else 'does not meet'}"
