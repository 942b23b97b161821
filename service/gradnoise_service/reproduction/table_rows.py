"""The rows of the page's tables: the paper's figures with ours, and our differences."""

from collections.abc import Iterator, Sequence

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.presets import PaperFigures
from gradnoise_service.report.markdown_syntax import escaped
from gradnoise_service.report.words.numbers import (
    as_words,
    confidence,
    duration,
    number,
    percent,
    signed,
    span,
)
from gradnoise_service.reproduction.claims import Claim
from gradnoise_service.reproduction.results import RowResult
from gradnoise_service.reproduction.sentences import paper_value, statistic_name

LEVEL = 0.95
MIN_RUNS_FOR_INTERVAL = 6
SIZE_CONSISTENT = {True: "yes", False: "no", None: "–"}


def figure_rows(result: RowResult) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each of the paper's figures with ours; our mean if the paper has none."""
    title = escaped(result.row.title)
    arms = [arm.name for arm in result.full.arms]
    if result.study is None:
        for figures in result.row.paper:
            yield (title, _statistic(figures), _paper_cell(figures, arms), result.state, "–")
        return
    c = result.study.comparison
    runs = "<br>".join(map(_runs, c.arms))
    for figures in result.row.paper:
        statistic, threshold = figures.statistic, figures.threshold
        our_cell = _our_cell(statistic, threshold, c)
        name = statistic_name(statistic, threshold, c)
        yield (title, name, _paper_cell(figures, arms), our_cell, runs)
    if not any(figures.statistic == "mean" for figures in result.row.paper):
        yield (title, statistic_name("mean", None, c), "–", _our_cell("mean", None, c), runs)


def difference_rows(result: RowResult) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each difference of a study; the first row has the baseline's cost too."""
    if result.study is None:
        return
    c = result.study.comparison
    costs = {arm.name: f"{escaped(arm.name)} {duration(arm.device_seconds)}" for arm in c.arms}
    for i, (d, claim) in enumerate(zip(c.differences, result.claims, strict=True)):
        interval = d.difference_interval
        shown = f"{span(interval)} ({confidence(interval.level)})" if interval else "–"
        cost = costs[d.arm] if i > 0 else f"{costs[c.baseline.name]}<br>{costs[d.arm]}"
        yield (
            escaped(result.row.title),
            escaped(d.arm),
            signed(d.difference),
            shown,
            _in_paper(claim, c),
            SIZE_CONSISTENT[claim.is_size_consistent],
            f"{d.n} of {d.n_declared}",
            as_words(d.verdict),
            result.study.scale,
            cost,
        )


def _in_paper(claim: Claim, c: Comparison) -> str:
    if claim.figures is None or claim.paper_gain is None:
        return "–"
    name = statistic_name(claim.figures.statistic, claim.figures.threshold, c)
    sign = 1 if claim.figures.threshold is not None else c.sign
    return f"{signed(sign * claim.paper_gain)} ({name})"


def _statistic(figures: PaperFigures) -> str:
    if figures.threshold is None:
        return figures.statistic
    return f"share of runs at {number(figures.threshold)}"


def _paper_cell(figures: PaperFigures, arms: Sequence[str]) -> str:
    values = "<br>".join(
        f"{escaped(arm)} {paper_value(figures, arm)}" for arm in arms if arm in figures.values
    )
    notes = [
        f"{figures.runs} runs" if figures.runs is not None else "",
        f"on {figures.split}" if figures.split != "test" else "",
        escaped(figures.source) if figures.source else "",
    ]
    text = ", ".join(filter(None, notes))
    return f"{values}<br>({text})" if text else values


def _our_cell(statistic: str, threshold: float | None, c: Comparison) -> str:
    return "<br>".join(
        f"{escaped(arm.name)} {_our_value(statistic, threshold, arm, c)}" for arm in c.arms
    )


def _our_value(statistic: str, threshold: float | None, arm: ArmSummary, c: Comparison) -> str:
    if threshold is not None:
        return _share(arm, threshold)
    if statistic == "best":
        return number(arm.highest if c.direction == "maximize" else arm.lowest)
    return _mean(arm, c)


def _share(arm: ArmSummary, threshold: float) -> str:
    for share in arm.reached:
        if share.threshold == threshold:
            ends = f"{percent(share.interval.low)} to {percent(share.interval.high)}"
            return f"{percent(share.n_reached / share.n)}, {share.n_reached} of {share.n} ({ends})"
    return "–"


def _mean(arm: ArmSummary, c: Comparison) -> str:
    """Return the mean of an arm's runs, with its interval if there are enough runs."""
    values = [value for row in c.seeds if (value := row.runs[arm.name].value) is not None]
    if len(values) < MIN_RUNS_FOR_INTERVAL:
        return number(arm.mean)
    if len(set(values)) == 1:
        return f"{number(arm.mean)} (all equal)"
    interval = mean_interval(values, level=LEVEL, seed=c.study_seed)
    ends = f"{number(round(interval.low, 4))} to {number(round(interval.high, 4))}"
    return f"{number(arm.mean)} ({ends})"


def _runs(arm: ArmSummary) -> str:
    lost = f", {arm.confirm.n_lost} lost" if arm.confirm.n_lost else ""
    return f"{escaped(arm.name)} {arm.confirm.n_ended}{lost}"
