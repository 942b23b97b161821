"""The page on the reproduction of the paper, as Markdown: each row of each table, its figures and
ours, and whether the claim stood.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradnoise_service.compare.comparison import ArmSummary, Comparison
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.compare.wording import at_best, confidence, signed
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets.table import FULL, Figures, Row, Table
from gradnoise_service.report.claims import Claim, Ran, Standing, claims
from gradnoise_service.report.figures import as_svg
from gradnoise_service.report.markdown_text import escaped, fenced, raw_table, table
from gradnoise_service.report.numbers import duration, number, percent, words
from gradnoise_service.report.page import point_table
from gradnoise_service.report.reproduction_figure import draw

MARKS: dict[Standing, str] = {
    "stood": "🟢",
    "did not stand": "🔴",
    "undecided": "🟡",
    "not in the paper": "🔵",
}
NOT_RUN = "⚪"
LEVEL = 0.95
FEWEST = 6
"""Fewer runs than these have no interval of their mean."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row of a table, and what has come of it.

    Args:
        full: Its study at full scale.
        ran: The complete study at the largest scale that there is, None if there is none.
        state: What to say of a row of which no study is complete.
        full_seconds: The device seconds of its study at full scale, measured or extrapolated; None
            where neither can be.
    """

    row: Row
    full: StudySpec
    ran: Ran | None
    state: str
    full_seconds: float | None

    @property
    def claims(self) -> list[Claim]:
        return claims(self.row.paper, self.ran) if self.ran else []


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table with what has come of its rows."""

    table: Table
    outcomes: tuple[Outcome, ...]

    @property
    def picture(self) -> bytes | None:
        """The rows' differences in the paper and here, as SVG; None where nothing ran."""
        rows = [
            (outcome.row, outcome.ran.comparison, outcome.claims)
            for outcome in self.outcomes
            if outcome.ran
        ]
        return as_svg(lambda: draw(self.table.name, rows)) if rows else None


def reproduction(sections: Sequence[Section], *, pictures: str = "") -> str:
    """Return the page.

    Args:
        sections: The tables.
        pictures: Folder of their pictures, `<table>.svg`, relative to the page; empty for a page
            without pictures.
    """
    return "\n".join(_lines(sections, pictures)) + "\n"


def _lines(sections: Sequence[Section], pictures: str) -> Iterator[str]:
    yield from ("# Reproduction of the paper", "")
    yield (
        "Neelakantan et al. 2015, *Adding Gradient Noise Improves Learning for Very Deep Networks* "
        "([arXiv:1511.06807](https://arxiv.org/abs/1511.06807)), table by table: the paper's "
        "figures, ours, and whether each claim stood. "
        "`gradnoise reproduction --output FILE` writes this page from the studies that a service "
        "has stored and from the presets, which "
        "hold the paper's figures; no number is typed by hand."
    )
    yield from ("", "## In short", "")
    yield from _summary(sections)
    yield from ("", *_rules(), "", "## What it costs", "")
    yield from _costs(sections)
    for section in sections:
        yield ""
        yield from _section(section, pictures)


def _summary(sections: Sequence[Section]) -> Iterator[str]:
    columns: tuple[Standing, ...] = ("stood", "did not stand", "undecided", "not in the paper")
    rows = []
    for section in sections:
        standings = [claim.standing for outcome in section.outcomes for claim in outcome.claims]
        n_missing = sum(outcome.ran is None for outcome in section.outcomes)
        scales = dict.fromkeys(outcome.ran.scale for outcome in section.outcomes if outcome.ran)
        link = f"[{section.table.name}](#{section.table.name})"
        counts = (str(standings.count(column) or "–") for column in columns)
        rows.append(
            (
                link,
                *counts,
                f"{n_missing} of {len(section.outcomes)}" if n_missing else "–",
                ", ".join(scales) or "–",
            )
        )
    header = (
        "table",
        *(f"{MARKS[column]} {column}" for column in columns),
        f"{NOT_RUN} rows not run",
        "scale",
    )
    yield from raw_table(header, rows)


def _rules() -> Iterator[str]:
    yield (
        "A claim is one arm of one row against the baseline. It rests on the mean where the paper "
        "has it, else on the share of runs "
        "that came to its first threshold, else on the best run. The verdict on a mean is the "
        "study's own, over all pairs of runs "
        "with the same setting and seed ([how](statistics.md#the-verdict)); a claim about the best "
        "run is held against it too, as one "
        "set of runs has only one best. A share helps or hurts if the interval of its paired "
        "difference leaves out 0 and the exact "
        "signed-rank test bears it out. Where all arms ran several settings the mean is over good "
        "and bad ones, as in the paper: the best "
        "means of a setting stand beside it, without a verdict, as each is of few runs and chosen "
        "on the data that judge it."
    )
    yield ""
    yield from table(
        ("the paper has the arm", "it stood when ours", "it did not stand when ours", "else"),
        (
            ("ahead of the baseline", "helps", "hurts, or makes no difference", "undecided"),
            (
                "level with it, within the smallest difference that matters",
                "makes no difference",
                "helps or hurts",
                "undecided",
            ),
            ("behind it", "hurts", "helps, or makes no difference", "undecided"),
        ),
    )
    yield ""
    yield (
        "What was not run at full scale says so: its claim was held against shorter trainings on "
        "fewer seeds, which may decide otherwise "
        "than the full ones. Runs that diverged or failed count as the metric's worst value."
    )


def _costs(sections: Sequence[Section]) -> Iterator[str]:
    yield (
        "Device time of each table at full scale: measured where its studies are complete, else "
        "extrapolated from the device seconds of an "
        "epoch in what there is of them, or of a smaller scale with the same options; unknown "
        "where there is neither. "
        "`python -m benchmarks.bench_workloads` extrapolates each by its floating-point operations."
    )
    yield ""
    rows = []
    for section in sections:
        known = [
            outcome.full_seconds for outcome in section.outcomes if outcome.full_seconds is not None
        ]
        n_measured = sum(
            outcome.ran is not None and outcome.ran.scale == FULL for outcome in section.outcomes
        )
        counts = {
            "measured": n_measured,
            "extrapolated": len(known) - n_measured,
            "unknown": len(section.outcomes) - len(known),
        }
        devices = dict.fromkeys(
            str(o.ran.comparison.protocol.get("device", "–")) for o in section.outcomes if o.ran
        )
        n_trials = sum(outcome.full.n_trials_total for outcome in section.outcomes)
        hours = f"{number(round(sum(known) / 3600, 2))} h" if known else "–"
        bases = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        rows.append((section.table.name, str(n_trials), hours, bases, ", ".join(devices) or "–"))
    yield from table(("table", "trials", "device time", "of its rows", "device"), rows)


def device_seconds(arm: ArmSummary) -> float:
    """Return the device seconds of all trials of an arm."""
    return arm.search.device_seconds + arm.rerun.device_seconds + arm.confirm.device_seconds


def _section(section: Section, pictures: str) -> Iterator[str]:
    whole = section.table
    yield from (f"## {whole.name}", "", escaped(whole.description), "")
    yield from fenced("\n".join(_command(whole, outcome) for outcome in section.outcomes), "sh")
    yield ""
    for outcome in section.outcomes:
        yield from _sentences(outcome)
    if pictures and any(outcome.ran for outcome in section.outcomes):
        yield from (
            "",
            f"![Differences in the paper and here, row by row]({pictures}/{whole.name}.svg)",
        )
    if figures := [cells for outcome in section.outcomes for cells in _figure_rows(outcome)]:
        yield from (
            "",
            *raw_table(("row", "what", "in the paper", "here", "runs of an arm"), figures),
        )
    ran = [(outcome.row, outcome.ran) for outcome in section.outcomes if outcome.ran]
    if not ran:
        return
    yield ""
    yield from raw_table(
        ("row", "arm", "mean difference", "interval", "pairs", "verdict", "scale", "device time"),
        [cells for row, study in ran for cells in _difference_rows(row, study)],
    )
    if grids := [(row, study) for row, study in ran if len(study.comparison.points) > 1]:
        yield from ("", "<details><summary>Setting by setting</summary>")
        for row, study in grids:
            yield from ("", f"**{escaped(row.title)}**", "")
            yield from table(*point_table(study.comparison))
        yield from ("", "</details>")


def _command(whole: Table, outcome: Outcome) -> str:
    """Return the command that runs a row as it was run, or at full scale if it was not."""
    scale = outcome.ran.scale if outcome.ran else FULL
    return (
        f"gradnoise submit --preset {whole.name} --scale {scale} --row "
        f"{shlex.quote(outcome.row.name)} --watch"
    )


def _sentences(outcome: Outcome) -> Iterator[str]:
    """Yield a line for each claim of a row: whether it stood, what the paper has, what was found
    here, and at which scale.
    """
    title = escaped(outcome.row.title)
    if outcome.ran is None:
        yield f"- {NOT_RUN} **{title}: {outcome.state}.**"
        return
    c, scale = outcome.ran.comparison, scale_words(outcome)
    for claim in outcome.claims:
        found, told = claim.found, claim.figures
        is_less = outcome.ran.scale != FULL and claim.figures is not None
        held = f"{claim.standing} at {outcome.ran.scale} scale" if is_less else claim.standing
        head = f"- {MARKS[claim.standing]} **{title}, {escaped(claim.arm)}: {held}.**"
        paper = "The paper has no figures of it"
        if told is not None:
            values = " against ".join(
                _paper_value(told, arm) for arm in (claim.arm, claim.baseline)
            )
            paper = (
                f"The paper has it {claim.place} {escaped(claim.baseline)} in the "
                f"{_what(told.statistic, told.threshold, c)} ({values})"
            )
        subject = _what(
            "reached" if told and told.threshold is not None else "mean",
            told.threshold if told else None,
            c,
        )
        ours = "it could not be compared"
        if found.difference is not None:
            level = (
                f", {confidence(found.interval.level)} interval "
                f"{_ends(found.interval.low, found.interval.high)}"
                if found.interval
                else ""
            )
            ours = f"the {subject} differs by {signed(found.difference)}{level}, {found.n} pairs"
        best = ", ".join(
            f"{arm} {at_best(c.points, arm, c.sign)}"
            for arm in (claim.arm, claim.baseline)
            if len(c.points) > 1
        )
        tuned = f" Each at its best setting: {escaped(best)}." if best else ""
        yield f"{head} {paper}; here {ours}: {words(found.verdict)}. {scale}{tuned}"


def scale_words(outcome: Outcome) -> str:
    """Return at which scale a row ran, and what that is in place of the full one."""
    ran, full = outcome.ran, outcome.full
    if ran is None:
        return "Not run."
    if ran.scale == FULL:
        return "Run at full scale."
    here, there = (
        {
            **{words(name): value for name, value in spec.options.items()},
            "seeds": spec.confirm.n_seeds,
            "epochs": spec.confirm_epochs,
            "search trials": spec.search.n_trials if spec.search else 0,
            "settings": spec.n_points,
        }
        for spec in (ran.spec, full)
    )
    less = [
        f"{name} {here.get(name, '–')} in place of {there.get(name, '–')}"
        for name in there | here
        if here.get(name) != there.get(name)
    ]
    return escaped(f"Not run at full scale: {ran.scale}, {', '.join(less)}.")


def _figure_rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """Yield a line for each figure of the paper, with ours beside it; and our mean where the paper
    has none.
    """
    ran = outcome.ran
    title = escaped(outcome.row.title)
    names = [arm.name for arm in outcome.full.arms]
    if ran is None:
        for told in outcome.row.paper:
            what = (
                told.statistic
                if told.threshold is None
                else f"share of runs at {number(told.threshold)}"
            )
            yield (title, what, _paper(told, names), outcome.state, "–")
        return
    runs = "<br>".join(_runs(arm) for arm in ran.comparison.arms)
    for told in outcome.row.paper:
        what, ours = (of(told.statistic, told.threshold, ran.comparison) for of in (_what, _ours))
        yield (title, what, _paper(told, names), ours, runs)
    if not any(told.statistic == "mean" for told in outcome.row.paper):
        yield (
            title,
            _what("mean", None, ran.comparison),
            "–",
            _ours("mean", None, ran.comparison),
            runs,
        )


def _difference_rows(row: Row, study: Ran) -> Iterator[tuple[str, ...]]:
    c = study.comparison
    costs = {arm.name: f"{escaped(arm.name)} {duration(device_seconds(arm))}" for arm in c.arms}
    for i, d in enumerate(c.differences):
        interval = d.difference_interval
        yield (
            escaped(row.title),
            escaped(d.arm),
            signed(d.difference),
            f"{_ends(interval.low, interval.high)} ({confidence(interval.level)})"
            if interval
            else "–",
            f"{d.n} of {d.n_declared}",
            words(d.verdict),
            study.scale,
            "<br>".join(([costs[c.baseline.name]] if i == 0 else []) + [costs[d.arm]]),
        )


def _what(statistic: str, threshold: float | None, c: Comparison) -> str:
    metric = escaped(words(c.metric))
    if threshold is None:
        return f"{statistic} {metric}"
    return (
        f"share of runs at {metric} {number(threshold)} or "
        f"{'above' if c.direction == 'maximize' else 'below'}"
    )


def _paper(told: Figures, names: Sequence[str]) -> str:
    values = "<br>".join(
        f"{escaped(name)} {_paper_value(told, name)}" for name in names if name in told.values
    )
    notes = [f"{told.runs} runs"] * (told.runs is not None) + [f"on {told.split}"] * (
        told.split != "test"
    )
    notes += [escaped(told.source)] if told.source else []
    return f"{values}<br>({', '.join(notes)})" if notes else values


def _paper_value(told: Figures, arm: str) -> str:
    return number(told.values[arm]) if told.threshold is None else percent(told.values[arm])


def _ours(statistic: str, threshold: float | None, c: Comparison) -> str:
    return "<br>".join(
        f"{escaped(arm.name)} {_our_value(statistic, threshold, arm, c)}" for arm in c.arms
    )


def _our_value(statistic: str, threshold: float | None, arm: ArmSummary, c: Comparison) -> str:
    if statistic == "best":
        return number(arm.highest if c.direction == "maximize" else arm.lowest)
    if threshold is not None:
        found = next((one for one in arm.reached if one.threshold == threshold), None)
        if found is None:
            return "–"
        ends = f"{percent(found.interval.low)} to {percent(found.interval.high)}"
        return f"{percent(found.n_reached / found.n)}, {found.n_reached} of {found.n} ({ends})"
    values = [value for row in c.seeds if (value := row.runs[arm.name].value) is not None]
    if len(values) < FEWEST:
        return number(arm.mean)
    if len(set(values)) == 1:
        return f"{number(arm.mean)} (all equal)"
    interval = mean_interval(values, level=LEVEL, seed=c.study_seed)
    return (
        f"{number(arm.mean)} ({number(round(interval.low, 4))} to "
        f"{number(round(interval.high, 4))})"
    )


def _runs(arm: ArmSummary) -> str:
    lost = arm.confirm.n_diverged + arm.confirm.n_failed
    return f"{escaped(arm.name)} {arm.confirm.n_ended}" + (f", {lost} lost" if lost else "")


def _ends(low: float, high: float) -> str:
    return f"{signed(low)} to {signed(high)}"
