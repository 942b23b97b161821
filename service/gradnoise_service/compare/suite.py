"""compare_suite: one answer over the studies of a suite."""

import math
import statistics
from collections.abc import Sequence

from gradnoise_service.compare.description import paired
from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.compare.facts.suite import Answer, LeftOut, StudyEffect, SuiteComparison
from gradnoise_service.compare.intervals import share_interval
from gradnoise_service.compare.meta import FEWEST_EFFECTS, pool
from gradnoise_service.compare.verdict import decide
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Study

MATTERS = 1.0
"""The smallest effect that matters: effects are in units of each study's smallest difference."""


def compare_suite(name: str, studies: Sequence[tuple[Study, Comparison | None]]) -> SuiteComparison:
    """Return the answers of a suite over its studies.

    Args:
        name: The suite.
        studies: At least one study, each with its comparison, which is None unless the study is
            complete. The first study determines the arms.
    """
    baseline, *arms = studies[0][0].spec.arms
    n_ended = sum(study.has_ended for study, _ in studies)
    answers = tuple(
        _answer(
            arm.name, baseline.name, studies, n_arms=len(arms), has_ended=n_ended == len(studies)
        )
        for arm in arms
    )
    return SuiteComparison(
        name=name,
        verdict=answers[0].verdict,
        n_studies=len(studies),
        n_ended=n_ended,
        answers=answers,
    )


def _answer(
    arm: str,
    baseline: str,
    studies: Sequence[tuple[Study, Comparison | None]],
    *,
    n_arms: int,
    has_ended: bool,
) -> Answer:
    """Return the answer on an arm; several arms share the error probability (Bonferroni)."""
    level = 1 - ALPHA / n_arms
    effects = tuple(_effect(study, comparison, arm, baseline) for study, comparison in studies)
    verdicts = [effect.verdict for effect in effects if effect.verdict is not None]
    n, n_helps = len(verdicts), verdicts.count("helps")
    counted = Answer(
        arm=arm,
        baseline=baseline,
        verdict="undecided",
        no_verdict="too_few" if has_ended else "waiting",
        n_complete=n,
        n_helps=n_helps,
        n_hurts=verdicts.count("hurts"),
        n_no_difference=verdicts.count("no_difference"),
        helped=share_interval(n_helps / n, n, level=level) if n else None,
        effects=effects,
    )
    measured = [
        (effect.effect, effect.standard_error)
        for effect in effects
        if effect.effect is not None and effect.standard_error is not None
    ]
    if len(measured) < FEWEST_EFFECTS:
        return counted
    pooled = pool(*zip(*measured, strict=True), level=level)
    p = min(1.0, n_arms * pooled.p_value)
    shown = counted.model_copy(update={"pooled": pooled, "p_value": p})
    if not has_ended:
        return shown
    verdict, reason = decide(pooled.interval, MATTERS, p)
    return shown.model_copy(update={"verdict": verdict, "reason": reason, "no_verdict": None})


def _effect(study: Study, comparison: Comparison | None, arm: str, baseline: str) -> StudyEffect:
    """Return what a study contributes to the answer on an arm."""
    delta = study.spec.smallest_difference
    empty = StudyEffect(
        study_id=study.id,
        study=study.spec.name,
        workload=study.spec.workload,
        state=study.state,
        metric=study.metric.name,
        smallest_difference=delta,
    )
    if comparison is None:
        left_out: LeftOut = study.state if study.state in ("cancelled", "failed") else "waiting"
        return empty.model_copy(update={"left_out": left_out})
    pairs = ((d.arm, d.baseline) for d in comparison.differences)
    found = dict(zip(pairs, comparison.differences, strict=True)).get((arm, baseline))
    if found is None:
        return empty.model_copy(update={"left_out": "other_arms"})
    described = empty.model_copy(update={"verdict": found.verdict, "gain": found.gain})
    if found.no_verdict is not None or found.gain is None or found.gain_interval is None:
        return described.model_copy(update={"left_out": "no_verdict"})
    return described.model_copy(
        update={
            "effect": found.gain / delta,
            "standard_error": _standard_error(comparison, found) / delta,
            "interval": _in_units_of(found.gain_interval, delta),
        }
    )


def _standard_error(comparison: Comparison, found: Difference) -> float:
    """Return that of the mean paired difference, s / sqrt(n), or of the means of searches."""
    if found.searches is not None:
        return found.searches.standard_error
    pairs = paired(comparison.seeds, found.arm, found.baseline)
    return statistics.stdev(a - b for a, b in pairs) / math.sqrt(len(pairs))


def _in_units_of(interval: Interval, unit: float) -> Interval:
    return interval.model_copy(update={"low": interval.low / unit, "high": interval.high / unit})
