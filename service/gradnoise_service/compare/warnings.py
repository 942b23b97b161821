"""The findings of a comparison: reasons to doubt its verdict, the most severe first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradnoise_service.compare.facts.comparison import Difference
from gradnoise_service.compare.facts.diagnostics import (
    NOISE_DOMINANT,
    NOISE_NEGLIGIBLE,
    Course,
    Diagnostics,
)
from gradnoise_service.compare.facts.findings import (
    AllTied,
    AtEdge,
    BestSetting,
    DivergedLater,
    EarlyStop,
    Finding,
    LostTrials,
    NoiseScale,
    NoTestData,
    NothingTuned,
    StillLearning,
    UnequalBudgets,
    UnequalDeviceTime,
    UnequalDivergence,
    UntunedSetting,
    WorseThanWorst,
)
from gradnoise_service.compare.facts.luck import RepeatedSearch, UnknownLuck
from gradnoise_service.compare.facts.tables import ArmSummary, GridPoint, SeedRow
from gradnoise_service.compare.recipes import recipe_findings
from gradnoise_service.compare.rehearsal import rehearsed
from gradnoise_service.compare.search_size import few_near_best, ignored_by_sampler, small_searches
from gradnoise_service.compare.tables import Tables
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value, is_number
from gradnoise_service.domain.study import Metric

EDGE = 0.05
"""A value within this share of its range from an end lies at the edge."""
UNEQUAL = 1.2
"""The ratio of the searches' device seconds beyond which they are not called equal."""
SIGNIFICANT = 0.05
"""The p-value up to which numbers of diverged trials count as different."""


def findings(
    design: Design,
    metric: Metric,
    tables: Tables,
    diagnostics: Diagnostics,
    judged: Sequence[Difference],
    lucks: Mapping[str, float | UnknownLuck],
    *,
    protocol: Mapping[str, Any],
    is_final: bool,
) -> Iterator[Finding]:
    """Yield the findings of a comparison.

    Args:
        design: The design at its present look.
        tables: Of the design's trials.
        judged: The differences with their verdicts.
        lucks: The luck of each arm's search, or why it cannot be estimated.
        protocol: What the study ran on: in `parameters_of` the parameters of each technique and
            optimizer, in `rehearsal` what a trial of each arm did before the first.
        is_final: Whether the verdicts are given.
    """
    yield from _budgets(design, tables.arms)
    if not metric.has_test:
        yield NoTestData()
    yield from rehearsed(protocol)
    yield from small_searches(design)
    yield from ignored_by_sampler(design)
    yield from few_near_best(design, metric, tables.arms, tables.search)
    yield from recipe_findings(design, protocol.get("parameters_of", {}))
    yield from _lucks(design, judged, lucks)
    yield from _losses(tables.arms)
    yield from _diverged_later(tables.arms)
    yield from _worse_than_worst(metric, tables.seeds)
    yield from _early_stops(design, judged, is_final)
    yield from _ties(tables.arms, tables.seeds)
    yield from _edges(design, tables.arms)
    yield from _nothing_tuned(metric, tables)
    yield from _divergences(diagnostics)
    yield from _still_learning(diagnostics)
    for course in diagnostics.courses:
        yield from _noise_scales(course)


def best_setting(points: Sequence[GridPoint], arm: str, sign: int) -> BestSetting:
    """Return an arm's best mean over the seeds of a setting, of at least one with a value.

    Its `params` are those that differ between the settings.
    """
    means = [(mean, point.params) for point in points if (mean := point.runs[arm].mean) is not None]
    mean, best = max(means, key=lambda found: sign * found[0])
    varied = {
        name: value
        for name, value in best.items()
        if any(point.params[name] != value for point in points)
    }
    return BestSetting(arm=arm, mean=mean, params=varied)


def edge(entry: SpaceEntry, value: Value) -> str | None:
    """Return the end of its range at which a value lies: `lower`, `upper`, or None.

    Values that are no numbers and fewer than 3 choices have no ends.

    >>> edge(Range(low=0.003, high=0.3, log=True), 0.29)
    'upper'
    >>> edge(Choices(choices=[0.01, 0.3, 1.0]), 0.3)
    """
    if not is_number(value):
        return None
    if isinstance(entry, Choices):
        numbers = sorted(choice for choice in entry.choices if is_number(choice))
        if len(numbers) < 3:
            return None
        return "lower" if value == numbers[0] else "upper" if value == numbers[-1] else None
    return _range_end(entry, value) if isinstance(entry, Range) else None


def _range_end(entry: Range, value: float) -> str | None:
    scale = math.log if entry.log else float
    low, high, at = (scale(x) for x in (entry.low, entry.high, max(value, entry.low)))
    share = (at - low) / (high - low)
    margin = EDGE if entry.n_points is None else 1e-9
    return "lower" if share <= margin else "upper" if share >= 1 - margin else None


def _budgets(design: Design, arms: Sequence[ArmSummary]) -> Iterator[Finding]:
    n_trials = {arm.name: design.n_searched(arm.name) for arm in design.spec.arms}
    if design.spec.budget.equal != "device_seconds":
        if len(set(n_trials.values())) > 1:
            yield UnequalBudgets(n_trials=n_trials)
        return
    seconds = {arm.name: arm.search.device_seconds for arm in arms}
    have_ended = all(arm.search.n_ended >= arm.search.n_declared > 0 for arm in arms)
    if have_ended and max(seconds.values()) > UNEQUAL * min(seconds.values()):
        yield UnequalDeviceTime(seconds=seconds)


def _lucks(
    design: Design, judged: Sequence[Difference], lucks: Mapping[str, float | UnknownLuck]
) -> Iterator[Finding]:
    compared = [difference for difference in judged if difference.no_verdict is None]
    for difference in compared:
        if design.spec.search is not None and difference.search_luck is not None:
            yield RepeatedSearch(
                arm=difference.arm,
                baseline=difference.baseline,
                sampler=design.spec.search.sampler,
                luck=difference.search_luck,
            )
    if compared:
        yield from (luck for luck in lucks.values() if isinstance(luck, UnknownLuck))


def _losses(arms: Sequence[ArmSummary]) -> Iterator[Finding]:
    for arm in arms:
        for phase, tally in arm.tallies.items():
            counts = {"failed": tally.n_failed, "diverged": tally.n_diverged}
            for outcome, n in counts.items():
                if n:
                    yield LostTrials.model_validate(
                        {
                            "arm": arm.name,
                            "phase": phase,
                            "outcome": outcome,
                            "n": n,
                            "n_declared": tally.n_declared,
                            "error": tally.first_error if outcome == "failed" else "",
                        }
                    )
    for arm in arms:
        if arm.n_untuned:
            yield UntunedSetting(arm=arm.name)


def _diverged_later(arms: Sequence[ArmSummary]) -> Iterator[Finding]:
    for arm in arms:
        for phase, tally in arm.tallies.items():
            if tally.n_diverged_later:
                yield DivergedLater(
                    arm=arm.name,
                    phase=phase,
                    n=tally.n_diverged_later,
                    n_declared=tally.n_declared,
                )


def _worse_than_worst(metric: Metric, rows: Sequence[SeedRow]) -> Iterator[Finding]:
    runs = (run for row in rows for run in row.runs.values() if run.outcome == "complete")
    values = [run.value for run in runs if run.value is not None]
    measured = min(values, key=lambda value: metric.sign * value, default=metric.worst)
    if metric.sign * measured < metric.sign * metric.worst:
        yield WorseThanWorst(measured=measured, declared=metric.worst)


def _early_stops(design: Design, judged: Sequence[Difference], is_final: bool) -> Iterator[Finding]:
    if is_final and not design.is_last_look:
        yield EarlyStop(n_seeds=design.n_seeds, n_declared=design.looks[-1])
    for d in judged:
        if d.dropped_at is not None and d.no_verdict is None:
            yield EarlyStop(arm=d.arm, n_seeds=d.dropped_at, n_declared=design.looks[-1])


def _ties(arms: Sequence[ArmSummary], rows: Sequence[SeedRow]) -> Iterator[Finding]:
    baseline = arms[0].name
    for arm in arms[1:]:
        pairs = [(row.runs[arm.name], row.runs[baseline]) for row in rows]
        values = [
            (a.value, b.value) for a, b in pairs if a.value is not None and b.value is not None
        ]
        was_measured = any(run.outcome == "complete" for pair in pairs for run in pair)
        if was_measured and len(values) > 1 and all(a == b for a, b in values):
            yield AllTied(arm=arm.name, baseline=baseline)


def _edges(design: Design, arms: Sequence[ArmSummary]) -> Iterator[Finding]:
    for arm in arms:
        space = design.space(arm.name)
        for name, entry in space.items():
            at_ends: dict[str, list[Value]] = {}
            for value in arm.values(name):
                if (end := edge(entry, value)) is not None:
                    at_ends.setdefault(end, []).append(value)
            for end, values in at_ends.items():
                yield AtEdge.model_validate(
                    {"arm": arm.name, "parameter": name, "values": values, "end": end}
                )


def _nothing_tuned(metric: Metric, tables: Tables) -> Iterator[Finding]:
    points, arms = tables.points, [arm.name for arm in tables.arms]
    if len(points) > 1 and all(any(point.runs[arm].n for point in points) for arm in arms):
        best = tuple(best_setting(points, arm, metric.sign) for arm in arms)
        yield NothingTuned(n_settings=len(points), best=best)


def _divergences(diagnostics: Diagnostics) -> Iterator[Finding]:
    for divergence in diagnostics.divergences:
        if divergence.p_value <= SIGNIFICANT:
            yield UnequalDivergence(divergence=divergence)


def _still_learning(diagnostics: Diagnostics) -> Iterator[Finding]:
    for course in diagnostics.courses:
        if course.is_climbing and course.late_gain is not None and course.late_from is not None:
            yield StillLearning(
                arm=course.arm,
                from_epoch=course.late_from,
                to_epoch=course.epochs[-1],
                gain=course.late_gain,
            )


def _noise_scales(course: Course) -> Iterator[Finding]:
    ratios = [ratio for ratio in course.noise_to_gradient if ratio is not None]
    n_small = sum(ratio < NOISE_NEGLIGIBLE for ratio in ratios)
    n_large = sum(ratio > NOISE_DOMINANT for ratio in ratios)
    if 2 * n_small > len(ratios):
        yield NoiseScale(
            kind="noise_negligible",
            arm=course.arm,
            limit=NOISE_NEGLIGIBLE,
            n=n_small,
            n_measured=len(ratios),
        )
    if 2 * n_large > len(ratios):
        yield NoiseScale(
            kind="noise_dominant",
            arm=course.arm,
            limit=NOISE_DOMINANT,
            n=n_large,
            n_measured=len(ratios),
        )
