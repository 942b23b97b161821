"""Dropped arms: which arms stopped at a declared look while others continued.

An arm's verdict at a look, with its level, is a function of its own pairs up to that look. So
whatever decides at which look an arm stops, it is called better or worse only if its pairs cross
their boundary at some look, and equal arms do so with the declared error probability at most.
"""

from collections.abc import Mapping, Sequence

from gradnoise_service.compare.choosing import as_counted
from gradnoise_service.compare.facts.comparison import Difference, Untrained
from gradnoise_service.compare.facts.findings import EveryTrialLost
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.compare.tables import tabulate
from gradnoise_service.compare.verdict import differences
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial


def dropped(
    design: Design,
    metric: Metric,
    trials: Sequence[Trial],
    untrained: Untrained | None = None,
) -> dict[str, Difference]:
    """Return the differences of the arms that were dropped before the design's look, by arm.

    Each is that of the first look that settles the arm; the runs after that look do not count. The
    result follows from the trials, in any order.

    Args:
        design: The design at its present look, all earlier ones of which have ended.
        metric: The objective, as declared.
        trials: The study's trials of all phases.
        untrained: The value without training; None if it was not measured.
    """
    found: dict[str, Difference] = {}
    for here in design.passed_looks if design.drops else ():
        so_far = [t for t in trials if t.phase != "confirm" or t.number < here.n_pairs]
        counted = as_counted(here, metric, so_far, "confirm")
        tables = tabulate(here, metric, so_far, dropped_at(found))
        judged = differences(here, counted, tables, None, untrained, found)
        for arm, difference in zip(tables.arms[1:], judged, strict=True):
            if arm.name not in found and is_settled(arm, difference):
                found[arm.name] = difference.model_copy(update={"dropped_at": here.n_seeds})
    return found


def dropped_at(found: Mapping[str, Difference]) -> dict[str, int]:
    """Return the seeds of the look at which each dropped arm stopped."""
    looks = {arm: difference.dropped_at for arm, difference in found.items()}
    return {arm: n_seeds for arm, n_seeds in looks.items() if n_seeds is not None}


def is_settled(arm: ArmSummary, difference: Difference) -> bool:
    """Return whether further seeds are of no use to an arm.

    It has a verdict other than `undecided`, its interval excludes a gain that matters, or its
    setting is not tuned.
    """
    return (
        difference.verdict != "undecided"
        or difference.reason == "interval_below"
        or not arm.has_settings
        or isinstance(difference.no_verdict, EveryTrialLost)
    )
