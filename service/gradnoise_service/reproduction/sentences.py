"""A sentence for each claim: its standing, the figures of the paper and ours, the scale."""

from collections.abc import Iterator
from typing import Any

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.warnings import best_setting
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets import FULL, PaperFigures
from gradnoise_service.report.markdown_syntax import escaped
from gradnoise_service.report.words.numbers import (
    as_words,
    confidence,
    number,
    percent,
    signed,
    span,
)
from gradnoise_service.report.words.settings import best_mean
from gradnoise_service.reproduction.claims import Claim, Standing
from gradnoise_service.reproduction.results import RowResult

MARKS: dict[Standing, str] = {
    "reproduced": "🟢",
    "not reproduced": "🔴",
    "undecided": "🟡",
    "not in the paper": "🔵",
}
NOT_RUN_MARK = "⚪"
SMALLER_MARK = "▫️"
"""Of claims below full scale, where the task is another."""
SMALLER: dict[Standing, str] = {"reproduced": "agrees", "not reproduced": "differs"}
"""The standing of a claim below full scale."""


def sentences(result: RowResult) -> Iterator[str]:
    """Yield a list item for each claim of a row, or one for a row without a complete study."""
    if result.study is None:
        yield f"- {NOT_RUN_MARK} **{escaped(result.row.title)}: {result.state}.**"
        return
    scale = scale_sentence(result)
    for claim in result.claims:
        heading = _heading(claim, result.row.title, result.study.scale)
        paper = _paper(claim, result.study.comparison)
        result_text = _our_result(claim, result.study.comparison)
        best = _best_settings(claim, result.study.comparison)
        verdict = as_words(claim.result.verdict)
        yield f"- {heading} {paper}; here {result_text}: {verdict}. {scale}{best}"


def scale_sentence(result: RowResult) -> str:
    """Return the scale at which a row ran, and how it differs from full scale."""
    if result.study is None:
        return "Not run."
    if result.is_measured:
        return "Run at full scale."
    here, there = _sizes(result.study.spec), _sizes(result.full)
    changes = [
        f"{name} {here.get(name, '–')} in place of {there.get(name, '–')}"
        for name in there | here
        if here.get(name) != there.get(name)
    ]
    return escaped(f"Not run at full scale: {result.study.scale}, {', '.join(changes)}.")


def statistic_name(statistic: str, threshold: float | None, c: Comparison) -> str:
    """Return a statistic in words: `mean accuracy`."""
    metric = escaped(as_words(c.metric))
    if threshold is None:
        return f"{statistic} {metric}"
    side = "above" if c.direction == "maximize" else "below"
    return f"share of runs at {metric} {number(threshold)} or {side}"


def paper_value(figures: PaperFigures, arm: str) -> str:
    """Return the paper's figure of an arm."""
    value = figures.values[arm]
    return number(value) if figures.threshold is None else percent(value)


def _heading(claim: Claim, title: str, scale: str) -> str:
    mark, standing = MARKS[claim.standing], str(claim.standing)
    if scale != FULL and claim.figures is not None:
        mark = SMALLER_MARK if claim.standing in SMALLER else mark
        standing = f"{SMALLER.get(claim.standing, standing)} at {scale} scale"
    return f"{mark} **{escaped(title)}, {escaped(claim.arm)}: {standing}.**"


def _paper(claim: Claim, c: Comparison) -> str:
    figures = claim.figures
    if figures is None:
        return "The paper has no figures for it"
    values = " against ".join(paper_value(figures, arm) for arm in (claim.arm, claim.baseline))
    statistic = statistic_name(figures.statistic, figures.threshold, c)
    return (
        f"In the paper it is {claim.rank} {escaped(claim.baseline)} in the {statistic} ({values})"
    )


def _our_result(claim: Claim, c: Comparison) -> str:
    result = claim.result
    if result.difference is None:
        return "it could not be compared"
    threshold = claim.figures.threshold if claim.figures else None
    statistic = statistic_name("mean" if threshold is None else "reached", threshold, c)
    interval = ""
    if result.interval:
        interval = f", {confidence(result.interval.level)} interval {span(result.interval)}"
    return f"the {statistic} differs by {signed(result.difference)}{interval}, {result.n} pairs"


def _best_settings(claim: Claim, c: Comparison) -> str:
    if len(c.points) <= 1:
        return ""
    best = [best_setting(c.points, arm, c.sign) for arm in (claim.arm, claim.baseline)]
    texts = (f"{setting.arm} {best_mean(setting)}" for setting in best)
    return f" Best settings: {escaped(', '.join(texts))}."


def _sizes(spec: StudySpec) -> dict[str, Any]:
    """Return what may differ between scales, by name."""
    design = Design.of(spec)
    return {
        **{as_words(name): value for name, value in spec.options.items()},
        "seeds": spec.confirm.n_seeds,
        "epochs": design.epochs("confirm"),
        "search trials": spec.search.n_trials if spec.search else 0,
        "settings": design.n_settings,
    }
