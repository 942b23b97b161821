"""Which difference a study can detect, as a sentence."""

import functools

from gradnoise_service.compare.planning import sd_of_search_mean
from gradnoise_service.compare.power import chances, chances_of_searches, largest_sd
from gradnoise_service.domain.design import Design
from gradnoise_service.report.words.numbers import count, number

DETECTED = 0.8
"""Probability with which a difference counts as detectable where no power was declared."""


def power(design: Design) -> str:
    """Return which difference a study can detect with its searches and seeds."""
    confirm, delta, n_repeats = (
        design.spec.confirm,
        design.spec.smallest_difference,
        design.n_repeats,
    )
    if confirm.anytime:
        return "No power was declared: an always-valid verdict can be extended until it decides."
    level, seeds = 1 - design.level_at(confirm.n_seeds), count(confirm.n_seeds, "seed")
    if n_repeats > 1:
        n, of, whose = n_repeats, chances_of_searches, "of a search's mean"
        with_these = f"With {n_repeats} searches of each arm and {seeds}"
    else:
        n, of, whose = confirm.n_seeds * design.n_settings, chances, "of the paired differences"
        with_these = f"With {seeds}"
    gain = f"a gain of {number(delta)}, the smallest difference that matters,"
    declared = confirm.power
    if declared is not None:
        sd = sd_of_search_mean(declared, n, confirm.n_seeds) if n_repeats > 1 else declared.sd
        found = of(n, 1.0, sd / delta, smallest_difference=1.0, level=level)
        return (
            f"{with_these}, {gain} is detected with probability {number(found['helps'])}, if its "
            "standard deviations are those declared."
        )
    ratio = _largest_ratio(n, level, is_of_searches=n_repeats > 1)
    if ratio is None:
        return f"No power was declared. {with_these}, {gain} cannot be detected reliably."
    return (
        f"No power was declared. {with_these}, {gain} is detected with probability {DETECTED} if "
        f"the standard deviation {whose} is at most {number(ratio * delta)}."
    )


@functools.lru_cache(maxsize=1024)
def _largest_ratio(n: int, level: float, *, is_of_searches: bool) -> float | None:
    """Return the largest standard deviation, as a multiple of the gain that is detected."""
    of = chances_of_searches if is_of_searches else chances
    return largest_sd(n, 1.0, smallest_difference=1.0, level=level, power=DETECTED, chances=of)
