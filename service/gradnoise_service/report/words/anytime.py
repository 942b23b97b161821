"""Sentences on the always-valid verdict, and on the error that an extension adds."""

from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.report.words.numbers import count, level, percent

VALID_AT_ANY_TIME = (
    "The interval and p are valid at every number of pairs and under any extension: over all "
    f"looks, equal arms are called different in at most {level(ALPHA)} of studies, as far as the "
    "differences of equal arms are symmetric."
)


def at_any_time(comparison: Comparison, difference: Difference) -> str:
    """Return why the verdict is valid at this moment; empty without an always-valid boundary."""
    c, d = comparison, difference
    if not c.anytime:
        return ""
    if d.n == d.n_declared:
        return f" {VALID_AT_ANY_TIME}"
    return f" This verdict is over the first {d.n} of {d.n_declared} pairs. {VALID_AT_ANY_TIME}"


def extension_cost(n_seeds: int, false_verdict_chance: float) -> str:
    """Return how an extension to a number of seeds changes the probability of a false verdict."""
    if false_verdict_chance <= ALPHA:
        return (
            f"With {n_seeds} seeds, the error probability stays at {level(ALPHA)}: no earlier "
            "verdict adds to it."
        )
    return (
        f"With {n_seeds} seeds, equal arms are called different in about "
        f"{percent(false_verdict_chance)} of such studies, not in {level(ALPHA)}: each earlier "
        "verdict adds to the error probability."
    )


def lengthening_cost(n_epochs: int, false_verdict_chance: float) -> str:
    """Return how longer confirm runs change the probability of a false verdict."""
    return (
        f"With {count(n_epochs, 'epoch')} of each confirm run, equal arms are called different in "
        f"at most about {percent(false_verdict_chance)} of such studies, not in {level(ALPHA)}: "
        "the earlier verdict was seen."
    )
