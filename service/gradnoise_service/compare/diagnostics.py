"""Diagnostics: learning courses, learning rates, importances, divergence, tuning curves by arm.

They describe a study; the verdict depends only on the paired confirm runs.
"""

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from gradnoise_service.compare.choosing import finite
from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.diagnostics import (
    Cell,
    Course,
    Diagnostics,
    Divergence,
    RateRange,
    Width,
)
from gradnoise_service.compare.facts.tables import ArmSummary, SearchPoint, Tally
from gradnoise_service.compare.importance import groups, importances, interactions
from gradnoise_service.compare.tuning_curves import tuning
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import EpochMean, Metric

LAST_SHARE = 0.2
FEWEST_EPOCHS = 5
FEWEST_RATES = 3
"""The fewest trials close to the best value with which two ranges of rates are compared."""


def diagnose(
    design: Design,
    metric: Metric,
    arms: Sequence[ArmSummary],
    search: Sequence[SearchPoint],
    epochs: Sequence[EpochMean],
) -> Diagnostics:
    """Return the diagnostics of a study.

    Args:
        arms: The arms, the baseline first.
        search: The search trials that have started.
        epochs: Means over each arm's complete confirm runs after each epoch; empty if nothing was
            measured.
    """
    names = [arm.name for arm in arms]
    by_arm = [[point for point in search if point.arm == name] for name in names]
    delta = design.spec.smallest_difference
    courses = (
        course(delta, metric, name, [e for e in epochs if e.arm == name])
        for name in (names if epochs else ())
    )
    rates = [found for points in by_arm if (found := rate_range(delta, metric, points)) is not None]
    maps = (tuple(noise_cells(points)) for points in by_arm)
    tuned = design.spec.search
    return Diagnostics(
        courses=tuple(courses),
        divergences=tuple(divergences(arms)),
        rates=tuple(_against_baseline(design, rates)),
        importances=tuple(found for points in by_arm for found in importances(metric, points)),
        interactions=tuple(found for points in by_arm for found in interactions(metric, points)),
        cells=next((cells for cells in maps if cells), ()),
        tuning=None if tuned is None else tuning(tuned, metric, arms, by_arm),
    )


def course(delta: float, metric: Metric, arm: str, epochs: Sequence[EpochMean]) -> Course:
    """Return an arm's course, with the gain over the last fifth of its epochs (at least 3 points).

    The gain is that of the least-squares line. The course is climbing if the gain reaches `delta`,
    the smallest difference that matters, and twice its standard error. With fewer than 5 points
    there is no gain.
    """
    by_epoch = sorted(epochs, key=lambda e: e.epoch)
    known = [(e.epoch, value) for e in by_epoch if (value := finite(e.value)) is not None]
    late = _late(known)
    late_gain: float | None = None
    is_climbing = False
    if late:
        slope, error = _line(late)
        n_epochs = late[-1][0] - late[0][0]
        late_gain = metric.sign * slope * n_epochs
        is_climbing = late_gain >= max(delta, 2 * error * n_epochs)
    return Course(
        arm=arm,
        epochs=tuple(e.epoch for e in by_epoch),
        n=tuple(e.n for e in by_epoch),
        values=tuple(finite(e.value) for e in by_epoch),
        noise_to_gradient=tuple(finite(e.noise_to_gradient) or None for e in by_epoch),
        late_from=late[0][0] if late else None,
        late_gain=late_gain,
        is_climbing=is_climbing,
    )


def divergences(arms: Sequence[ArmSummary]) -> Iterator[Divergence]:
    """Yield the diverged trials of each further arm and of the first, phase by phase.

    Trials that failed with an error are left out; phases without a diverged trial too.
    """
    baseline = arms[0]
    for arm in arms[1:]:
        yield from _divergence(arm, baseline, "search", arm.search, baseline.search)
        yield from _divergence(arm, baseline, "rerun", arm.rerun, baseline.rerun)
        yield from _divergence(arm, baseline, "confirm", arm.confirm, baseline.confirm)


def fisher_p(a: int, n: int, b: int, m: int) -> float:
    """Return the two-sided p-value of Fisher's exact test that a of n and b of m share a rate.

    >>> round(fisher_p(8, 10, 1, 6), 5)
    0.03497
    """
    # scipy is imported with the first computation: stored comparisons are shown without it
    from scipy.stats import fisher_exact  # type: ignore[import-untyped]  # scipy ships no types

    # rounding can exceed 1
    return min(1.0, float(fisher_exact([[a, n - a], [b, m - b]]).pvalue))


def rate_range(delta: float, metric: Metric, points: Sequence[SearchPoint]) -> RateRange | None:
    """Return the learning rates of an arm whose trials came within `delta` of its best value.

    None if fewer than two rates were tried, or no trial is complete. `n_between` counts all ended
    trials between the ends, so it shows gaps: trials that fell short, diverged or failed.
    """
    tried = [
        (rate, point) for point in points if (rate := point.numeric("lr")) is not None and rate > 0
    ]
    complete = [
        (rate, point.value)
        for rate, point in tried
        if point.outcome == "complete" and point.value is not None
    ]
    if not complete or len({rate for rate, _ in tried}) < 2:
        return None
    best = max((value for _, value in complete), key=lambda value: metric.sign * value)
    good = [rate for rate, value in complete if metric.sign * (best - value) <= delta]
    low, high = min(good), max(good)
    ended = [rate for rate, point in tried if point.outcome in ("complete", *LOST)]
    return RateRange(
        arm=points[0].arm,
        best=best,
        low=low,
        high=high,
        n_within=len(good),
        n_between=sum(low <= rate <= high for rate in ended),
    )


def noise_cells(points: Sequence[SearchPoint]) -> Iterator[Cell]:
    """Yield the cells of the eta x gamma map that hold ended trials of an arm."""
    ended = [point for point in points if point.outcome in ("complete", *LOST)]
    found = [
        (eta, gamma, point)
        for point in ended
        if (eta := point.numeric("eta")) is not None
        and (gamma := point.numeric("gamma")) is not None
    ]
    rows = groups([eta for eta, _, _ in found])
    columns = groups([gamma for _, gamma, _ in found])
    of_cell: dict[tuple[int, int], list[tuple[float, float, SearchPoint]]] = {}
    for key, entry in zip(zip(rows, columns, strict=True), found, strict=True):
        of_cell.setdefault(key, []).append(entry)
    for key in sorted(of_cell):
        yield _cell(of_cell[key])


def _late(known: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """Return the points of the last fifth of the epochs; empty where there are too few points."""
    if len(known) < FEWEST_EPOCHS:
        return ()
    start = known[-1][0] * (1 - LAST_SHARE)
    late = list(itertools.dropwhile(lambda point: point[0] < start, known))
    return late if len(late) >= 3 else known[-3:]


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return the least-squares slope of at least 3 points and its standard error."""
    x, y = (np.asarray(column, dtype=float) for column in zip(*points, strict=True))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    residuals = y - slope * x
    return slope, math.sqrt(float(residuals @ residuals) / (len(x) - 2) / float(x @ x))


def _divergence(
    arm: ArmSummary, baseline: ArmSummary, phase: Phase, tally: Tally, base: Tally
) -> Iterator[Divergence]:
    n, baseline_n = tally.n_ended - tally.n_failed, base.n_ended - base.n_failed
    if n and baseline_n and tally.n_ever_diverged + base.n_ever_diverged:
        yield Divergence(
            arm=arm.name,
            baseline=baseline.name,
            phase=phase,
            n_diverged=tally.n_ever_diverged,
            n=n,
            baseline_n_diverged=base.n_ever_diverged,
            baseline_n=baseline_n,
            p_value=fisher_p(tally.n_ever_diverged, n, base.n_ever_diverged, baseline_n),
        )


def _against_baseline(design: Design, rates: Sequence[RateRange]) -> Iterator[RateRange]:
    """Compare the ranges with the baseline's, where both were found in the same space."""
    baseline = design.baseline.name
    reference = next((rate for rate in rates if rate.arm == baseline), None)
    searched = design.space(baseline).get("lr")
    for rate in rates:
        if reference is None or rate is reference or design.space(rate.arm).get("lr") != searched:
            yield rate
        else:
            yield rate.model_copy(update={"width": _width(rate, reference)})


def _width(rate: RateRange, reference: RateRange) -> Width:
    if min(rate.n_within, reference.n_within) < FEWEST_RATES:
        return "too_few_trials"
    if rate.factor == reference.factor:
        return "equal"
    return "wider" if rate.factor > reference.factor else "narrower"


def _cell(placed: Sequence[tuple[float, float, SearchPoint]]) -> Cell:
    etas, gammas, points = zip(*placed, strict=True)
    values = [
        point.value for point in points if point.outcome == "complete" and point.value is not None
    ]
    return Cell(
        arm=points[0].arm,
        eta=(min(etas), max(etas)),
        gamma=(min(gammas), max(gammas)),
        n=len(points),
        n_lost=len(points) - len(values),
        mean=statistics.fmean(values) if values else None,
        spread=statistics.stdev(values) if len(values) > 1 else None,
    )
