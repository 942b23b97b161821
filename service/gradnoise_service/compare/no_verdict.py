"""Why an arm has no verdict: its runs have not ended, cannot be compared, or did not learn."""

from collections.abc import Sequence

from gradnoise_service.compare.facts.comparison import Untrained
from gradnoise_service.compare.facts.findings import (
    EveryRunFailed,
    EveryRunLost,
    EveryTrialLost,
    NeitherLearned,
    NoSetting,
    NoVerdict,
    Waiting,
)
from gradnoise_service.compare.facts.tables import ArmSummary, SeedRow
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Metric

SELECTING: tuple[Phase, ...] = ("search", "rerun")
"""Phases that select an arm's setting."""


def fault(
    design: Design,
    baseline: ArmSummary,
    arm: ArmSummary,
    rows: Sequence[SeedRow],
    waiting: NoVerdict | None,
) -> NoVerdict | None:
    """Return why an arm has no verdict: it is waiting, or cannot be compared."""
    if waiting is not None and not (design.is_anytime and len(rows) >= design.fewest_pairs):
        return waiting
    return _incomparable(baseline, arm, rows)


def _incomparable(
    baseline: ArmSummary, arm: ArmSummary, rows: Sequence[SeedRow]
) -> NoVerdict | None:
    """Return why an arm whose runs have ended cannot be compared with the baseline."""
    for side in (baseline, arm):
        if not side.has_settings:
            return NoSetting(arm=side.name)
        if side.n_untuned:
            return EveryTrialLost(arm=side.name, phase="search")
        lost = (phase for phase in SELECTING if side.tallies[phase].is_lost)
        if phase := next(lost, None):
            return EveryTrialLost(arm=side.name, phase=phase)
        if rows and all(row.runs[side.name].outcome == "failed" for row in rows):
            return EveryRunFailed(arm=side.name)
    outcomes = {row.runs[side.name].outcome for row in rows for side in (baseline, arm)}
    return None if "complete" in outcomes else EveryRunLost()


def not_learned(
    design: Design,
    metric: Metric,
    arms: Sequence[str],
    rows: Sequence[SeedRow],
    untrained: Untrained | None,
) -> NeitherLearned | None:
    """Return that no complete run is better than the untrained model by the smallest difference."""
    if untrained is None:
        return None
    runs = [row.runs[arm] for row in rows for arm in arms]
    values = [metric.sign * run.value for run in runs if run.value is not None]
    if max(values) - metric.sign * untrained.best >= design.spec.smallest_difference:
        return None
    return NeitherLearned(best=untrained.best, n_seeds=untrained.n_seeds)


def has_numbers(fault: NoVerdict | None) -> bool:
    """Return whether the numbers of an arm are shown although it may have no verdict."""
    return fault is None or isinstance(fault, Waiting | NeitherLearned)
