"""Searches that are too small or too wide for their space, and too few seeds for a verdict."""

from collections.abc import Iterator, Sequence

from gradnoise_service.compare.facts.luck import FewNearBest, SmallSearch, TooFewSeeds
from gradnoise_service.compare.facts.tables import ArmSummary, SearchPoint
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import searched
from gradnoise_service.domain.study import Metric

TRIALS_FOR_EACH = 10
"""Trials that a search needs for each parameter (Loeppky, Sacks and Welch 2009)."""
FEWEST_NEAR = 3
"""The fewest trials close to the best value that show a plateau rather than a lucky trial."""


def limits(design: Design) -> Iterator[SmallSearch | TooFewSeeds]:
    """Yield what a study cannot show, as far as its declaration determines it."""
    yield from small_searches(design)
    if design.n_pairs < design.fewest_pairs:
        yield TooFewSeeds(n_pairs=design.n_pairs, n_needed=design.fewest_pairs)


def small_searches(design: Design) -> Iterator[SmallSearch]:
    """Yield the arms that are tuned with fewer than 10 trials for each searched parameter.

    10 points for each dimension determine a smooth response surface (Loeppky, Sacks and Welch
    2009). A grid is never too small: it tries every setting. Neither are repeated searches: their
    verdict is about their budget.
    """
    search = design.spec.search
    if search is None or search.sampler == "grid" or design.n_repeats > 1:
        return
    for arm in design.spec.arms:
        n_trials, n_parameters = design.n_searched(arm.name), _n_searched(design, arm.name)
        n_needed = TRIALS_FOR_EACH * n_parameters
        if n_trials < n_needed:
            yield SmallSearch(
                arm=arm.name, n_trials=n_trials, n_parameters=n_parameters, n_needed=n_needed
            )


def few_near_best(
    design: Design, metric: Metric, arms: Sequence[ArmSummary], search: Sequence[SearchPoint]
) -> Iterator[FewNearBest]:
    """Yield the arms of whose search fewer than 3 trials are close to the best.

    Close means within the smallest difference that matters. Repeated searches are left out, and
    searches that have not ended, that have no complete trial, or that have a single setting.
    """
    if design.n_repeats > 1:
        return
    delta = design.spec.smallest_difference
    for arm in arms:
        values = [
            point.value
            for point in search
            if point.arm == arm.name and point.outcome == "complete" and point.value is not None
        ]
        has_ended = arm.search.n_ended >= arm.search.n_declared
        if not (values and has_ended and _n_searched(design, arm.name)):
            continue
        best = max(values, key=lambda value: metric.sign * value)
        n_near = sum(abs(best - value) <= delta for value in values)
        if n_near < FEWEST_NEAR:
            yield FewNearBest(arm=arm.name, n_near=n_near, n_complete=len(values), best=best)


def _n_searched(design: Design, arm: str) -> int:
    return len(searched(design.space(arm)))
