"""What else a study's trials tell: courses over the epochs, usable learning rates, what the
settings explain, who diverges more.

All of it describes; the verdict rests on the paired confirm runs alone.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gradnoise_service.compare.choosing import finite
from gradnoise_service.compare.comparison import (
    LOST,
    ArmSummary,
    Cell,
    Comparison,
    Course,
    Diagnostics,
    Divergence,
    Fact,
    RateRange,
    SearchPoint,
)
from gradnoise_service.compare.importance import groups, importances, interactions
from gradnoise_service.domain.spec import StudySpec, Value
from gradnoise_service.domain.study import EpochMean, Metric

DROWNED, DROWNING = 0.01, 10.0
"""Below the one the noise hardly turns an update, above the other it is nearly all of it."""

LAST_SHARE = 0.2
FEWEST_EPOCHS = 5
FEWEST_RATES = 3


def diagnose(
    spec: StudySpec,
    metric: Metric,
    arms: Sequence[ArmSummary],
    search: Sequence[SearchPoint],
    epochs: Sequence[EpochMean],
) -> Diagnostics:
    """Return the diagnostics of a study.

    Args:
        arms: The sides, the baseline first.
        search: The search trials that have started.
        epochs: Means over each arm's complete confirm runs, epoch by epoch; none where nothing was
            measured.
    """
    own = {arm.name: [point for point in search if point.arm == arm.name] for arm in arms}
    diagnostics = Diagnostics(
        courses=tuple(
            course(spec, metric, arm.name, [e for e in epochs if e.arm == arm.name]) for arm in arms
        )
        if epochs
        else (),
        divergences=tuple(divergences(arms)),
        rates=tuple(
            found for arm in arms if (found := rate_range(spec, metric, own[arm.name])) is not None
        ),
        importances=tuple(found for arm in arms for found in importances(metric, own[arm.name])),
        interactions=tuple(found for arm in arms for found in interactions(metric, own[arm.name])),
        cells=next((cells for arm in arms if (cells := tuple(noise_cells(own[arm.name])))), ()),
    )
    return diagnostics.model_copy(update={"remarks": remarks(spec, diagnostics)})


def diagnosed(
    comparison: Comparison, spec: StudySpec, metric: Metric, epochs: Sequence[EpochMean]
) -> Comparison:
    """Return a comparison with diagnostics and their warnings, computed from the arms and search
    trials that it holds; else unchanged.
    """
    diagnostics = diagnose(spec, metric, comparison.arms, comparison.search, epochs)
    warnings = (*comparison.warnings, *cautions(spec, metric, diagnostics))
    return comparison.model_copy(update={"diagnostics": diagnostics, "warnings": warnings})


def course(spec: StudySpec, metric: Metric, arm: str, epochs: Sequence[EpochMean]) -> Course:
    """Return an arm's course, with what the last fifth of its epochs (at least 3 points) still
    gained.

    The gain is that of the least-squares line over them. `is_climbing`: it reaches the smallest
    difference that matters, and twice its own standard error. Of fewer than 5 points nothing is
    said.
    """
    by_epoch = sorted(epochs, key=lambda e: e.epoch)
    known = [(e.epoch, value) for e in by_epoch if (value := finite(e.value)) is not None]
    late_gain: float | None = None
    is_climbing = False
    late_from: int | None = None
    if len(known) >= FEWEST_EPOCHS:
        since = known[-1][0] * (1 - LAST_SHARE)
        late = [point for point in known if point[0] >= since]
        late = late if len(late) >= 3 else known[-3:]
        late_from = late[0][0]
        slope, error = _line(late)
        late_gain, error = (
            metric.sign * slope * (late[-1][0] - late_from),
            error * (late[-1][0] - late_from),
        )
        is_climbing = late_gain >= max(spec.smallest_difference, 2 * error)
    return Course(
        arm=arm,
        epochs=tuple(e.epoch for e in by_epoch),
        n=tuple(e.n for e in by_epoch),
        values=tuple(finite(e.value) for e in by_epoch),
        noise_to_gradient=tuple(finite(e.noise_to_gradient) or None for e in by_epoch),
        late_from=late_from,
        late_gain=late_gain,
        is_climbing=is_climbing,
    )


def divergences(arms: Sequence[ArmSummary]) -> Iterator[Divergence]:
    """Yield each further arm against the first, phase by phase, over the trials that ended without
    an error, if any diverged.
    """
    for arm in arms[1:]:
        tallies = (
            ("search", arm.search, arms[0].search),
            ("rerun", arm.rerun, arms[0].rerun),
            ("confirm", arm.confirm, arms[0].confirm),
        )
        for phase, own, base in tallies:
            counts = (
                own.n_diverged,
                own.n_ended - own.n_failed,
                base.n_diverged,
                base.n_ended - base.n_failed,
            )
            if counts[0] + counts[2] and counts[1] and counts[3]:
                yield Divergence(
                    arm=arm.name,
                    baseline=arms[0].name,
                    phase=phase,
                    n_diverged=counts[0],
                    n=counts[1],
                    baseline_n_diverged=counts[2],
                    baseline_n=counts[3],
                    p_value=fisher_p(*counts),
                )


def fisher_p(a: int, n: int, b: int, m: int) -> float:
    """Return the two-sided p-value of Fisher's exact test that a of n and b of m share one rate.

    With the total a + b given, the first count is hypergeometric; the p-value sums the chances of
    all counts no likelier than a's.

    >>> round(fisher_p(8, 10, 1, 6), 5)
    0.03497
    """
    ways = _log_choose(n + m, a + b)
    logs = {
        k: _log_choose(n, k) + _log_choose(m, a + b - k) - ways
        for k in range(max(0, a + b - m), min(n, a + b) + 1)
    }
    return min(
        1.0, math.fsum(math.exp(chance) for chance in logs.values() if chance <= logs[a] + 1e-7)
    )


def rate_range(spec: StudySpec, metric: Metric, points: Sequence[SearchPoint]) -> RateRange | None:
    """Return from where to where an arm's learning rate came within the smallest difference of the
    arm's best value.

    None where fewer than two rates were tried, or no trial is complete. `n_between` counts all
    trials between the ends, so that a gap shows: those that fell short, diverged or failed.
    """
    tried = [
        (rate, point)
        for point in points
        if (rate := numeric(point.params, "lr")) is not None and rate > 0
    ]
    complete = [
        (rate, point.value)
        for rate, point in tried
        if point.outcome == "complete" and point.value is not None
    ]
    if not complete or len({rate for rate, _ in tried}) < 2:
        return None
    best = max((value for _, value in complete), key=lambda value: metric.sign * value)
    good = [
        rate for rate, value in complete if metric.sign * (best - value) <= spec.smallest_difference
    ]
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
    """Yield the cells of the eta x gamma map in which an arm has trials: how many, how many lost,
    mean and spread of the rest.
    """
    pairs = (
        (point, numeric(point.params, "eta"), numeric(point.params, "gamma")) for point in points
    )
    placed = [
        (p, eta, gamma)
        for p, eta, gamma in pairs
        if eta is not None and gamma is not None and p.outcome in ("complete", *LOST)
    ]
    rows, columns = (groups([place[i] for place in placed]) for i in (1, 2))
    for row in sorted(set(rows)):
        for column in sorted(set(columns)):
            here = [
                place
                for place, r, c in zip(placed, rows, columns, strict=True)
                if (r, c) == (row, column)
            ]
            values = [
                p.value for p, _, _ in here if p.outcome == "complete" and p.value is not None
            ]
            if here:
                etas, gammas = [eta for _, eta, _ in here], [gamma for _, _, gamma in here]
                yield Cell(
                    arm=points[0].arm,
                    eta=(min(etas), max(etas)),
                    gamma=(min(gammas), max(gammas)),
                    n=len(here),
                    n_lost=len(here) - len(values),
                    mean=statistics.fmean(values) if values else None,
                    spread=statistics.stdev(values) if len(values) > 1 else None,
                )


def cautions(spec: StudySpec, metric: Metric, diagnostics: Diagnostics) -> Iterator[str]:
    """Yield, in words, what of it should make a reader pause."""
    for d in diagnostics.divergences:
        if d.p_value <= 0.05:
            own, base = d.n_diverged / d.n, d.baseline_n_diverged / d.baseline_n
            verb = "more" if own > base else "less"
            yield (
                f"{d.arm} diverged {verb} often than {d.baseline} in the {d.phase} phase: "
                f"{d.n_diverged} of {d.n} against "
                f"{d.baseline_n_diverged} of {d.baseline_n} trials (Fisher's exact test, p = "
                f"{d.p_value:.2g})."
            )
    for c in diagnostics.courses:
        if c.is_climbing and c.late_gain is not None:
            yield (
                f"{c.arm} had not finished learning: from epoch {c.late_from} to {c.epochs[-1]} "
                f"its mean validation {metric.name} still "
                f"improved by {c.late_gain:.3g}, at least the smallest difference that matters "
                f"({spec.smallest_difference:.4g}). "
                "With a longer training the verdict may be another."
            )
    for c in diagnostics.courses:
        ratios = [ratio for ratio in c.noise_to_gradient if ratio is not None]
        for n, words in (
            (
                sum(ratio < DROWNED for ratio in ratios),
                f"below {DROWNED:g}: the noise was too small to do much",
            ),
            (
                sum(ratio > DROWNING for ratio in ratios),
                f"above {DROWNING:g}: the noise drowned the gradient",
            ),
        ):
            if ratios and n > len(ratios) / 2:
                share = "all" if n == len(ratios) else f"{n} of {len(ratios)}"
                yield (
                    f"{c.arm}'s noise, as a multiple of the gradient's norm, was {words} (in "
                    f"{share} of the measured epochs)."
                )


def remarks(spec: StudySpec, diagnostics: Diagnostics) -> tuple[Fact, ...]:
    """Return what the search says of learning rates and of the settings' weight, in words."""
    rates = {one.arm: one for one in diagnostics.rates}
    baseline = rates.get(spec.arms[0].name)
    facts = []
    for one in diagnostics.rates:
        against = ""
        if (
            baseline is not None
            and one is not baseline
            and min(one.n_within, baseline.n_within) < FEWEST_RATES
        ):
            against = f"; too few trials came so near to be held against {baseline.arm}'s"
        elif baseline is not None and one is not baseline and one.factor != baseline.factor:
            against = (
                f"; {'wider' if one.factor > baseline.factor else 'narrower'} than "
                f"{baseline.arm}'s factor of {baseline.factor:.3g}"
            )
        near = f"within {spec.smallest_difference:.4g} of its best value ({one.best:.4g})"
        reach = f"{one.low:.3g} to {one.high:.3g}, a factor of {one.factor:.3g}{against}"
        alone = f"{one.low:.3g} alone: no other trial came {near}"
        value = (
            alone
            if one.n_within == 1
            else f"{reach}: {near} in {one.n_within} of the {one.n_between} trials between them"
        )
        facts.append(Fact(name=f"Usable learning rates of {one.arm}", value=value))
    sampler = spec.search.sampler if spec.search else "grid"
    adaptive = sampler not in ("random", "grid", "qmc")
    bias = f"; {sampler} looked mostly where it was good, which hides weight" if adaptive else ""
    for arm in spec.arms:
        own = [one for one in diagnostics.importances if one.arm == arm.name]
        if own:
            shares = ", ".join(f"{one.name} {100 * one.share:.0f} %" for one in own)
            reach = _reach([one.chance for one in own if one.chance is not None])
            value = (
                f"{shares} (share of the variance of ranks, each alone, over {own[0].n} trials; "
                f"noise alone reaches {reach}{bias})"
            )
            facts.append(Fact(name=f"What explains {arm.name}'s values", value=value))
        pairs = [one for one in diagnostics.interactions if one.arm == arm.name]
        if pairs:
            shares = ", ".join(
                f"{' with '.join(one.names)} {100 * one.share:.0f} %" for one in pairs
            )
            reach = _reach([one.chance for one in pairs])
            value = (
                f"{shares} beyond what each explains alone (over {pairs[0].n} trials; noise alone "
                f"reaches {reach})"
            )
            facts.append(Fact(name=f"What explains {arm.name}'s values in pairs", value=value))
    return tuple(facts)


def numeric(params: Mapping[str, Value], name: str) -> float | None:
    """Return a parameter if it is a number."""
    value = params.get(name)
    return float(value) if isinstance(value, int | float) else None


def _reach(shares: Sequence[float]) -> str:
    low, high = (f"{100 * end:.0f}" for end in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return the least-squares slope of at least 3 points and its standard error."""
    x, y = (np.asarray(column, dtype=float) for column in zip(*points, strict=True))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    rest = y - slope * x
    return slope, math.sqrt(float(rest @ rest) / (len(x) - 2) / float(x @ x))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
