"""Searches that are too small for their space or their sampler, and too few seeds."""

from collections.abc import Iterator, Sequence

from gradnoise_service.compare.facts.luck import (
    FewNearBest,
    IgnoredBySampler,
    SmallSearch,
    StrictLook,
    TooFewSeeds,
)
from gradnoise_service.compare.facts.tables import ArmSummary, SearchPoint
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.search import LEARNING_SAMPLERS, RANDOM_TRIALS
from gradnoise_service.domain.space import Choices, searched
from gradnoise_service.domain.study import Metric

TRIALS_FOR_EACH = 10
"""Trials that a search needs for each parameter (Loeppky, Sacks and Welch 2009)."""
STRICT = 2.0
"""A look that needs a difference so many times as large as a single verdict hardly decides."""
FEWEST_NEAR = 3
"""The fewest trials close to the best value that show a plateau rather than a lucky trial."""


Limit = SmallSearch | IgnoredBySampler | StrictLook | TooFewSeeds


def limits(design: Design) -> Iterator[Limit]:
    """Yield what a study cannot show, as far as its declaration determines it."""
    yield from small_searches(design)
    yield from ignored_by_sampler(design)
    yield from _strict_looks(design)
    if 0 < design.n_pairs < design.fewest_pairs:  # a stopped search has no confirm phase
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


def ignored_by_sampler(design: Design) -> Iterator[IgnoredBySampler]:
    """Yield what the sampler does not use.

    CMA-ES has no categorical parameters. TPE, the Gaussian process and CMA-ES draw at random until
    they see enough ended trials, and trial i sees those below i - lag. The Gaussian process and
    CMA-ES learn from complete trials alone.
    """
    search = design.spec.search
    if search is None or search.sampler not in LEARNING_SAMPLERS:
        return
    arms = [arm.name for arm in design.spec.arms]
    choices = {arm: _choices(design, arm) for arm in arms if search.sampler == "cmaes"}
    longest = max(arms, key=design.n_searched)
    n_trials = design.n_searched(longest)
    n_random = RANDOM_TRIALS[search.sampler] + (design.lag(longest) or 0)
    found = IgnoredBySampler(
        sampler=search.sampler,
        choices={arm: names for arm, names in choices.items() if names},
        n_random=n_trials if n_trials <= n_random else 0,
        pruned=search.sampler != "tpe" and search.pruner.name != "none",
    )
    if found.choices or found.n_random or found.pruned:
        yield found


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


def _strict_looks(design: Design) -> Iterator[StrictLook]:
    """Yield the looks on repeated searches that need more than twice a single verdict's difference.

    Both differences are Student's quantiles at 2 K - 2 degrees of freedom, the most that Welch's
    interval of K searches can have.
    """
    if design.n_repeats == 1 or not design.is_sequential:
        return
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    degrees = 2 * design.n_repeats - 2
    for n_seeds, level in zip(design.looks, design.levels, strict=True):
        times = float(stdtrit(degrees, level / 2) / stdtrit(degrees, design.alpha / 2))
        if times > STRICT:
            yield StrictLook(n_seeds=n_seeds, n_searches=design.n_repeats, level=level, times=times)


def _choices(design: Design, arm: str) -> tuple[str, ...]:
    entries = searched(design.space(arm)).items()
    return tuple(name for name, entry in entries if isinstance(entry, Choices))


def _n_searched(design: Design, arm: str) -> int:
    return len(searched(design.space(arm)))
