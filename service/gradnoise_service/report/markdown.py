"""The report as Markdown: the numbers of the page, for a wiki, an issue or a terminal."""

from collections.abc import Iterator

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.tables import ArmSummary, Run
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Study
from gradnoise_service.report.document import Report, ReportedDifference, document
from gradnoise_service.report.markdown_syntax import escaped, fenced, table
from gradnoise_service.report.protocol import protocol, spec_text
from gradnoise_service.report.tables import (
    TUNING_NOTE,
    noise_map_note,
    point_table,
    recipe_table,
    thresholds,
    tuning_table,
)
from gradnoise_service.report.words.anytime import VALID_AT_ANY_TIME
from gradnoise_service.report.words.looks import longer_runs
from gradnoise_service.report.words.numbers import (
    MISSING,
    as_words,
    confidence,
    count,
    duration,
    ends,
    level,
    listed,
    number,
    p_value,
    percent,
    percent_span,
    signed,
    span,
)
from gradnoise_service.report.words.progress import ended_trials
from gradnoise_service.report.words.settings import chosen, setting, techniques


def render(study: Study, comparison: Comparison) -> str:
    """Return a study's report as Markdown (GitHub's, with tables)."""
    return "\n".join(_lines(study, document(study, comparison))) + "\n"


def _lines(study: Study, c: Report) -> Iterator[str]:
    yield f"# {escaped(study.spec.name)}"
    if study.spec.description:
        yield from ("", escaped(study.spec.description))
    yield from _verdicts(study, c)
    yield from ("", "## The arms", "")
    if c.points:
        settings = f"the same {count(len(c.points), 'setting')}"
        yield from (f"Nothing was tuned: every arm ran {settings} on the same seeds.", "")
    yield from _arms(c)
    if thresholds(c):
        yield from ("", *_reached(c))
    yield from ("", "## The differences", "", *_differences(c))
    if c.points:
        note = (
            f"Mean, standard deviation and best of each arm's runs on {c.split} data, lost runs "
            "included."
        )
        yield from ("", "## The settings", "", note, "", *table(*point_table(c)))
    if any(run.outcome != "open" for row in c.seeds for run in row.runs.values()):
        yield from ("", "## The confirm runs", "", *_confirm_runs(c))
    if not c.points:
        yield from ("", "## The search", "", *_search(c))
    if c.diagnostics.remarks:
        yield ""
        yield from (f"- {escaped(r.name)}: {escaped(r.value)}" for r in c.diagnostics.remarks)
    header, rows = tuning_table(c)
    if rows:
        yield from ("", TUNING_NOTE, "", *table(header, rows))
    if c.diagnostics.cells:
        yield from ("", noise_map_note(c), "", *_cells(c))
    yield from ("", "## What differs between the arms", "", *table(*recipe_table(c)))
    yield from ("", "## What was held equal", "")
    yield from (f"- {held.name}: {escaped(held.value)}" for held in c.held_equal)
    yield from ("", "## Protocol", "")
    yield from (f"- {escaped(name)}: {escaped(value)}" for name, value in protocol(c))
    yield f"- study seed: {c.study_seed}"
    yield from ("", "The study as submitted:", "", *fenced(spec_text(study), "yaml"))


def _verdicts(study: Study, c: Report) -> Iterator[str]:
    if not c.is_final:
        label = "Incomplete" if study.has_ended else "Interim"
        numbers = "numbers" if c.plan else "number"
        verdict = (
            VALID_AT_ANY_TIME
            if c.anytime
            else f"A verdict is given at the declared {numbers} of seeds only: stopping at a "
            "pleasing difference finds too many."
        )
        yield from ("", f"**{label}.** {ended_trials(c)} have ended. {verdict}")
    if c.lengths:
        yield from ("", longer_runs(c))
    elif c.looks:
        yield from (
            "",
            f"The study was extended after earlier verdicts, at {listed(c.looks)} seeds: with "
            f"equal arms about {percent(c.false_verdict_chance)} of such studies err, not "
            f"{level(ALPHA)}.",
        )
    for lead in c.leads:
        yield from ("", f"**{escaped(lead)}**")
    for d in c.differences:
        arms = f"{escaped(d.arm)} against {escaped(d.baseline)}"
        yield from ("", f"**{as_words(d.verdict)}** ({arms}): {escaped(d.sentence)}")
    if study.error:
        yield from ("", "The study failed:", "", *fenced(study.error))
    if c.limitations:
        yield from ("", "## Limitations", "", *(f"- {escaped(text)}" for text in c.limitations))


def _arms(c: Comparison) -> Iterator[str]:
    chosen = ["the arm's own values"] if c.points else ["chosen setting", f"validation {c.metric}"]
    header = ["arm", "technique", *chosen, f"mean on {c.split}", "median", "range", "lost"]
    yield from table([*header, "device time"], [list(_arm(c, arm)) for arm in c.arms])


def _arm(c: Comparison, arm: ArmSummary) -> Iterator[str]:
    yield arm.name
    yield techniques(arm.techniques)
    yield chosen(arm)
    if not c.points:
        yield " / ".join(number(of_search.value) for of_search in arm.chosen)
    yield number(arm.mean)
    yield number(arm.median)
    yield MISSING if arm.lowest is None else f"{number(arm.lowest)} – {number(arm.highest)}"
    yield f"{arm.confirm.n_lost} of {arm.confirm.n_ended}"
    yield duration(arm.device_seconds)


def _reached(c: Comparison) -> Iterator[str]:
    side = "or above" if c.direction == "maximize" else "or below"
    header = ["arm", *(f"runs at {number(threshold)} {side}" for threshold in thresholds(c))]
    rows = [[arm.name, *_counts(arm)] for arm in c.arms if arm.reached]
    yield from table(header, rows)


def _counts(arm: ArmSummary) -> Iterator[str]:
    for reached in arm.reached:
        yield f"{reached.n_reached} of {reached.n} ({percent_span(reached.interval)})"


def _differences(c: Report) -> Iterator[str]:
    header = [
        "arm",
        "pairs",
        f"difference in {c.metric}",
        "interval",
        "interquartile mean",
        "P(better)",
        "its interval",
        "always-valid p" if c.anytime else "p",
        "correlation of the pairs",
        "loss rate at most",
        "baseline's",
    ]
    yield from table(header, [list(_difference(d)) for d in c.differences])


def _difference(d: ReportedDifference) -> Iterator[str]:
    interval = d.difference_interval
    yield d.arm
    yield f"{d.n} of {d.n_declared}"
    yield signed(d.difference)
    yield MISSING if interval is None else f"{span(interval)} ({confidence(interval.level)})"
    middle = f" ({span(d.interquartile_interval)})" if d.interquartile_interval else ""
    yield f"{signed(d.interquartile_mean)}{middle}"
    yield percent(d.p_better)
    yield percent_span(d.p_better_interval)
    yield p_value(d.p_value)
    yield signed(d.correlation)
    yield MISSING if d.losses is None else percent(d.losses.bound)
    yield MISSING if d.losses is None else percent(d.losses.baseline_bound)


def _confirm_runs(c: Comparison) -> Iterator[str]:
    settings = ["setting"] if c.points else []
    header = ["pair" if c.points else "seed", "seed number", *settings]
    rows = [
        [
            str(row.number + 1),
            str(row.seed),
            *([] if row.point is None else [setting(c.points[row.point].params)]),
            *(_run(row.runs[arm.name]) for arm in c.arms),
        ]
        for row in c.seeds
    ]
    yield from table([*header, *(arm.name for arm in c.arms)], rows)


def _run(run: Run) -> str:
    value = number(run.value)
    return value if run.outcome == "complete" else f"{value} ({run.outcome})"


def _search(c: Comparison) -> Iterator[str]:
    header = ("arm", "complete", "pruned", "diverged", "failed", "declared", "device time")
    tallies = [(arm.name, arm.search) for arm in c.arms]
    rows = [
        (
            name,
            *map(str, (t.n_complete, t.n_pruned, t.n_diverged, t.n_failed, t.n_declared)),
            duration(t.device_seconds),
        )
        for name, t in tallies
    ]
    yield from table(header, rows)


def _cells(c: Comparison) -> Iterator[str]:
    header = ("eta", "gamma", "trials", "lost", f"mean {c.metric}", "standard deviation")
    rows = [
        (
            ends(cell.eta),
            ends(cell.gamma),
            str(cell.n),
            str(cell.n_lost),
            number(cell.mean),
            number(cell.spread),
        )
        for cell in c.diagnostics.cells
    ]
    yield from table(header, rows)
