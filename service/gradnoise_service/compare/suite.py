"""compare_suite: one answer over the studies of a suite; compare_selection: over any studies."""

import math
import statistics
from collections.abc import Sequence

from gradnoise_service.compare.description import paired
from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.compare.facts.suite import (
    Answer,
    LeftOut,
    StudyEffect,
    SuiteComparison,
    VariesOver,
)
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
    return _compared(name, studies, _pairs(studies[0][0]), varies_over="workload")


def compare_selection(studies: Sequence[tuple[Study, Comparison | None]]) -> SuiteComparison:
    """Return the answers over studies that a reader has picked; arguments as of `compare_suite`.

    There is an answer on each arm against each baseline that some study compares.
    """
    pairs = dict.fromkeys(pair for study, _ in studies for pair in _pairs(study))
    return _compared("Comparison", studies, list(pairs), varies_over="study")


def _pairs(study: Study) -> list[tuple[str, str]]:
    """Return the arms of a study, each with its baseline."""
    baseline, *arms = study.spec.arms
    return [(arm.name, baseline.name) for arm in arms]


def _compared(
    name: str,
    studies: Sequence[tuple[Study, Comparison | None]],
    pairs: Sequence[tuple[str, str]],
    *,
    varies_over: VariesOver,
) -> SuiteComparison:
    n_ended = sum(study.has_ended for study, _ in studies)
    answers: list[Answer] = []
    for arm, baseline in pairs:
        of_pair = (
            studies
            if varies_over == "workload"
            else [each for each in studies if (arm, baseline) in _pairs(each[0])]
        )
        has_ended = all(study.has_ended for study, _ in of_pair)
        answers.append(_answer(arm, baseline, of_pair, n_arms=len(pairs), has_ended=has_ended))
    return SuiteComparison(
        name=name,
        verdict=answers[0].verdict,
        varies_over=varies_over,
        n_studies=len(studies),
        n_ended=n_ended,
        answers=tuple(answers),
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
