"""How strong an arm's noise is beside the gradient while a study runs, as a text."""

from gradnoise_service.compare.facts.diagnostics import NOISE_DOMINANT, NOISE_NEGLIGIBLE
from gradnoise_service.domain.progress import NoiseRatio
from gradnoise_service.report.words.numbers import count, number


def noise_ratio(found: NoiseRatio) -> str:
    """Return the ratio of noise to gradient of an arm, and what it means beyond the limits.

    >>> noise_ratio(NoiseRatio(arm="noisy", median=12.0, n=3))
    "noisy's noise is 12 times the gradient (median of the latest 3 trials): mostly noise"
    """
    if found.median > NOISE_DOMINANT:
        meaning = ": mostly noise"
    else:
        meaning = ": hardly any effect" if found.median < NOISE_NEGLIGIBLE else ""
    trials = "latest trial" if found.n == 1 else f"latest {count(found.n, 'trial')}"
    return (
        f"{found.arm}'s noise is {number(found.median)} times the gradient (median of the {trials})"
        f"{meaning}"
    )
