"""The luck of a single search: how far its chosen setting varies if the search is repeated.

Surfaces fitted to the better half of an arm's search trials stand for its space. On each of them
the whole procedure is repeated: the search, the reruns of its best settings, the choice. The
standard deviation of the true value at the chosen setting is the luck of the search; it widens the
interval of the difference, which holds at the chosen settings only.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gradnoise_service.compare.choosing import outcome
from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.comparison import Difference
from gradnoise_service.compare.facts.luck import SearchLuck, UnknownLuck
from gradnoise_service.compare.facts.tables import SearchPoint
from gradnoise_service.compare.response_surface import Coding, Surfaces, surfaces
from gradnoise_service.compare.spread import variance_within
from gradnoise_service.compare.tables import Tables
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import searched
from gradnoise_service.domain.study import Metric, Trial

N_SURFACES = 20
N_SEARCHES = 100
"""Repetitions of the procedure on each surface."""
MOST_DRAWS = 1_000_000
"""Settings on all surfaces that are drawn at a time."""
FEWEST_FREE = 5
"""The fewest trials beyond the coefficients of a surface that determine it."""
DEGREES = 6
"""Degrees of freedom of a luck: its estimate varies by about 0.3 = sqrt(1 / (2 * 6)) of itself."""


def lucks(
    design: Design, metric: Metric, tables: Tables, trials: Sequence[Trial]
) -> dict[str, float | UnknownLuck]:
    """Return the luck of each arm's search, in objective units, or why it cannot be estimated.

    It is 0 for an arm without searched parameters; there are none without a search.
    """
    if design.spec.search is None:
        return {}
    return {
        arm.name: _luck(design, metric, tables, trials, arm.name, i)
        for i, arm in enumerate(design.spec.arms)
    }


def with_luck(
    differences: Sequence[Difference], found: Mapping[str, float | UnknownLuck]
) -> tuple[Difference, ...]:
    """Return the differences with the luck of both searches, where both could be estimated."""
    return tuple(
        difference.model_copy(update={"search_luck": _widened(difference, found)})
        for difference in differences
    )


def repeated(
    rng: np.random.Generator,
    drawn: Surfaces,
    features: np.ndarray,
    *,
    seed_sd: float,
    n_finalists: int,
    n_reruns: int,
) -> np.ndarray:
    """Return the value at the chosen setting of repeated searches, [surfaces, searches].

    The best trials are rerun, and the setting with the best mean is chosen.

    Args:
        rng: Draws the noise of seeds.
        drawn: The surfaces; larger is better.
        features: Of the settings that each search tries, [searches, trials, features].
        seed_sd: Standard deviation of a setting's values over seeds.
        n_finalists: How many settings are rerun.
        n_reruns: On how many seeds; 0 to choose the best trial.
    """
    n_searches, n_trials, n_features = features.shape
    true = drawn.values(features.reshape(-1, n_features)).reshape(-1, n_searches, n_trials)
    measured = true + seed_sd * rng.standard_normal((n_searches, n_trials))
    n_best = min(n_finalists, n_trials) if n_reruns else 1
    best = np.argpartition(measured, n_trials - n_best, axis=-1)[..., n_trials - n_best :]
    finalists = np.take_along_axis(true, best, axis=-1)
    noise = seed_sd / math.sqrt(n_reruns or 1) * rng.standard_normal(finalists.shape)
    chosen = np.argmax(finalists + noise, axis=-1)[..., None]
    return np.take_along_axis(finalists, chosen, axis=-1)[..., 0]


def _luck(
    design: Design,
    metric: Metric,
    tables: Tables,
    trials: Sequence[Trial],
    arm: str,
    index: int,
) -> float | UnknownLuck:
    space = searched(design.space(arm))
    if not space:
        return 0.0
    tried = [p for p in tables.search if p.arm == arm and p.outcome in ("complete", "pruned")]
    coding = Coding(space)
    n_needed = coding.n_features + FEWEST_FREE
    complete = [point for point in tried if point.outcome == "complete" and point.value is not None]
    complete.sort(key=lambda point: (-metric.sign * (point.value or 0.0), point.number))
    best = complete[: max(n_needed, -(-len(tried) // 2))]
    if len(best) < n_needed or best[0].value == best[-1].value:
        return UnknownLuck(arm=arm, n_complete=len(complete), n_needed=n_needed)
    rng = np.random.default_rng([design.spec.seed, index])
    seed_sd = _seed_sd(design, tables, trials, arm)
    values = metric.sign * np.array([point.value for point in best])
    features = coding.of([point.params for point in best])
    drawn = surfaces(rng, features, values, seed_sd=seed_sd, n=N_SURFACES)
    batches = [
        repeated(
            rng,
            drawn,
            settings,
            seed_sd=seed_sd,
            n_finalists=design.n_finalists,
            n_reruns=design.n_rerun_seeds,
        )
        for settings in _searches(rng, design, coding, tried)
    ]
    variances = np.var(np.concatenate(batches, axis=1), axis=1, ddof=1)
    return math.sqrt(float(np.mean(variances)))


def _seed_sd(design: Design, tables: Tables, trials: Sequence[Trial], arm: str) -> float:
    """Return the standard deviation over seeds, pooled over the rerun and confirmed settings."""
    groups: dict[str, list[float]] = {"confirm": []}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if (
            trial.arm == arm
            and trial.phase == "rerun"
            and outcome(trial, design.spec.judge) == "complete"
        ):
            setting = json.dumps(dict(trial.params or {}), sort_keys=True)
            groups.setdefault(setting, []).append(trial.value or 0.0)
    for row in tables.seeds:
        run = row.runs[arm]
        if run.outcome == "complete" and run.value is not None:
            groups["confirm"].append(run.value)
    return math.sqrt(variance_within(groups.values()) or 0.0)


def _searches(
    rng: np.random.Generator, design: Design, coding: Coding, tried: Sequence[SearchPoint]
) -> Iterator[np.ndarray]:
    """Yield the features of the repeated searches' settings, [searches, trials, features].

    A grid is run again; the settings of other samplers are drawn at random.
    """
    n_trials = len(tried)
    n_each = max(1, MOST_DRAWS // (N_SURFACES * n_trials))
    is_grid = design.spec.search is not None and design.spec.search.sampler == "grid"
    grid = coding.of([point.params for point in tried]) if is_grid else None
    for start in range(0, N_SEARCHES, n_each):
        n = min(n_each, N_SEARCHES - start)
        if grid is not None:
            yield np.broadcast_to(grid, (n, *grid.shape))
        else:
            yield coding.drawn(rng, n * n_trials).reshape(n, n_trials, -1)


def _widened(difference: Difference, found: Mapping[str, float | UnknownLuck]) -> SearchLuck | None:
    """Return the luck of a difference: its variance is added to that of the confirm runs."""
    interval, centre = difference.difference_interval, difference.difference
    sds = [found.get(name) for name in (difference.arm, difference.baseline)]
    if interval is None or centre is None or difference.no_verdict is not None:
        return None
    sd, baseline_sd = sds
    if not isinstance(sd, float) or not isinstance(baseline_sd, float):
        return None
    # scipy is imported with the first computation: stored comparisons are shown without it
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    reach = float(stdtrit(DEGREES, (1 + interval.level) / 2)) * math.hypot(sd, baseline_sd)
    return SearchLuck(
        sd=sd,
        baseline_sd=baseline_sd,
        reach=reach,
        interval=Interval(
            low=centre - math.hypot(centre - interval.low, reach),
            high=centre + math.hypot(interval.high - centre, reach),
            level=interval.level,
            method="search_luck",
        ),
    )
