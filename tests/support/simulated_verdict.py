"""The verdict of simulated studies, a small part of what a comparison computes."""

from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.verdict import decide
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Verdict


def simulated_verdict(design: Design, gains: list[float], p: float | None = None) -> Verdict:
    """Return the verdict of `judge` on an arm with these gains over the baseline.

    Args:
        design: A design of two arms, with single searches and declared looks.
        p: The p-value of the gains, if it is known.
    """
    interval = mean_interval(gains, level=1 - design.level, seed=design.spec.seed)
    p = sign_flip_p(gains) if p is None else p
    return decide(interval, design.spec.smallest_difference, p, design.level)[0]
