"""How many of the declared trials have ended."""

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.report.words.numbers import listed


def ended_trials(comparison: Comparison) -> str:
    """Return the ended and declared trials by phase.

    For example `8 of 8 search trials and 10 of 12 confirm runs`.
    """
    tallies = {
        "search trials": [arm.search for arm in comparison.arms],
        "reruns": [arm.rerun for arm in comparison.arms],
        "confirm runs": [arm.confirm for arm in comparison.arms],
    }
    counts = {
        noun: (sum(t.n_ended for t in of_arms), sum(t.n_declared for t in of_arms))
        for noun, of_arms in tallies.items()
    }
    return listed(
        [f"{n} of {n_declared} {noun}" for noun, (n, n_declared) in counts.items() if n_declared]
    )
