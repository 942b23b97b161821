"""The report as Markdown: the same numbers as the page, for a wiki, an issue, a terminal."""

import re
from collections.abc import Iterable, Iterator, Sequence

from gradnoise_service.compare.comparison import Comparison, Run
from gradnoise_service.compare.wording import confidence, signed
from gradnoise_service.domain.study import Study
from gradnoise_service.report.numbers import duration, ends, number, percent, span, words
from gradnoise_service.report.page import (
    lead,
    noise_map_note,
    point_table,
    progress,
    protocol,
    setting_text,
    spec_text,
)


def markdown(study: Study, comparison: Comparison) -> str:
    """Return a study's report as Markdown (GitHub's, with tables)."""
    return "\n".join(_lines(study, comparison)) + "\n"


def _lines(study: Study, c: Comparison) -> Iterator[str]:
    yield f"# {escaped(study.spec.name)}"
    if study.spec.description:
        yield from ("", escaped(study.spec.description))
    if not c.is_final:
        numbers = "numbers" if c.plan else "number"
        early = (
            f"A verdict is given at the declared {numbers} of seeds alone: stopping when a "
            "difference pleases finds too many."
        )
        yield from (
            "",
            f"**{'Incomplete' if study.has_ended else 'Interim'}.** {progress(c)} {early}",
        )
    if c.looks:
        at = ", ".join(map(str, c.looks))
        yield from (
            "",
            f"Verdicts were given before, at {at} seeds: up to {percent(c.false_verdict_chance)} "
            "of such studies err, not 5 %.",
        )
    if first := lead(c):
        yield from ("", f"**{escaped(first)}**")
    for d in c.differences:
        yield from (
            "",
            f"**{words(d.verdict)}** ({escaped(d.arm)} against {escaped(d.baseline)}): "
            f"{escaped(d.sentence)}",
        )
    if study.error:
        yield from ("", "The study failed:", "", *fenced(study.error))
    if c.warnings:
        yield from (
            "",
            "## Before you believe it",
            "",
            *(f"- {escaped(warning)}" for warning in c.warnings),
        )
    yield from ("", "## The arms", "")
    if c.points:
        yield from (
            f"Nothing was tuned: every arm ran the same {len(c.points)} settings on the same "
            "seeds.",
            "",
        )
    yield from table(
        (
            *("arm", "technique"),
            *(
                ("setting of its own",)
                if c.points
                else ("setting chosen", f"validation {c.metric}")
            ),
            *("mean on test", "median", "range", "lost", "device time"),
        ),
        (
            (
                arm.name,
                words(arm.technique),
                setting_text(arm.setting or {}),
                *(() if c.points else (number(arm.chosen_value),)),
                number(arm.mean),
                number(arm.median),
                "–" if arm.lowest is None else f"{number(arm.lowest)} – {number(arm.highest)}",
                f"{arm.confirm.n_diverged + arm.confirm.n_failed} of {arm.confirm.n_ended}",
                duration(
                    arm.search.device_seconds
                    + arm.rerun.device_seconds
                    + arm.confirm.device_seconds
                ),
            )
            for arm in c.arms
        ),
    )
    if any(arm.reached for arm in c.arms):
        side = "or above" if c.direction == "maximize" else "or below"
        header = (
            "arm",
            *(
                f"runs at {number(one.threshold)} {side}"
                for one in next(arm.reached for arm in c.arms if arm.reached)
            ),
        )
        yield ""
        yield from table(
            header,
            (
                (
                    arm.name,
                    *(
                        f"{one.n_reached} of {one.n} ({percent(one.interval.low)} to "
                        f"{percent(one.interval.high)})"
                        for one in arm.reached
                    ),
                )
                for arm in c.arms
                if arm.reached
            ),
        )
    yield from ("", "## The differences", "")
    yield from table(
        (
            "arm",
            "pairs",
            f"difference in {c.metric}",
            "interval",
            "interquartile mean",
            "chance to be better",
            "its interval",
            "signed-rank p",
        ),
        (
            (
                d.arm,
                f"{d.n} of {d.n_declared}",
                signed(d.difference),
                f"{span(d.difference_interval)} ({confidence(d.difference_interval.level)})"
                if d.difference_interval
                else "–",
                f"{signed(d.interquartile_mean)} ({span(d.interquartile_interval)})"
                if d.interquartile_mean is not None
                else "–",
                percent(d.p_better) if d.p_better is not None else "–",
                f"{percent(d.p_better_interval.low)} to {percent(d.p_better_interval.high)}"
                if d.p_better_interval
                else "–",
                "–" if d.p_value is None else f"{d.p_value:.2g}",
            )
            for d in c.differences
        ),
    )
    if c.points:
        yield from (
            "",
            "## The settings",
            "",
            "Mean, standard deviation and best of each arm's runs on test data, lost ones "
            "included.",
            "",
        )
        yield from table(*point_table(c))
    if any(run.outcome != "open" for row in c.seeds for run in row.runs.values()):
        yield from ("", "## The confirm runs", "")
        rows = (
            (
                str(row.number + 1),
                str(row.seed),
                *(() if row.point is None else (setting_text(c.points[row.point].params),)),
                *(_run(row.runs[arm.name]) for arm in c.arms),
            )
            for row in c.seeds
        )
        yield from table(
            (
                "seed",
                "its number",
                *(("setting",) if c.points else ()),
                *(arm.name for arm in c.arms),
            ),
            rows,
        )
    if not c.points:
        yield from ("", "## The search", "")
        yield from table(
            ("arm", "complete", "pruned", "diverged", "failed", "declared"),
            (
                (
                    arm.name,
                    *map(str, (s.n_complete, s.n_pruned, s.n_diverged, s.n_failed, s.n_declared)),
                )
                for arm in c.arms
                for s in (arm.search,)
            ),
        )
    if c.diagnostics.remarks:
        yield from (
            "",
            *(f"- {escaped(fact.name)}: {escaped(fact.value)}" for fact in c.diagnostics.remarks),
        )
    if c.diagnostics.cells:
        yield from ("", noise_map_note(c), "")
        yield from table(
            ("eta", "gamma", "trials", "lost", f"mean {c.metric}", "standard deviation"),
            (
                (
                    ends(cell.eta),
                    ends(cell.gamma),
                    str(cell.n),
                    str(cell.n_lost),
                    number(cell.mean),
                    number(cell.spread),
                )
                for cell in c.diagnostics.cells
            ),
        )
    yield from (
        "",
        "## What was held equal",
        "",
        *(f"- {fact.name}: {escaped(fact.value)}" for fact in c.held_equal),
    )
    yield from (
        "",
        "## Protocol",
        "",
        *(f"- {escaped(name)}: {escaped(value)}" for name, value in protocol(c)),
    )
    yield f"- study seed: {c.study_seed}"
    yield from ("", "The study as it was submitted:", "", *fenced(spec_text(study), "yaml"))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from raw_table([*map(escaped, header)], ([*map(escaped, row)] for row in rows))


def raw_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table of cells that are Markdown already."""
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def fenced(text: str, language: str = "") -> list[str]:
    """Return a code block whose fence is longer than any within."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}{language}", text.rstrip(), fence]


def escaped(text: str) -> str:
    r"""Return text that Markdown shows as it is, on one line.

    >>> escaped("a|b <i> *c*")
    'a\\|b \\<i\\> \\*c\\*'
    >>> escaped("1. a &lt; b"), escaped("- a"), escaped("-0.5")
    ('1\\. a \\&lt; b', '\\- a', '-0.5')
    """
    text = re.sub(r"([\\`*_\[\]<>|#$~&])", r"\\\1", " ".join(text.split()))
    # at the start of a line these would make a list or a heading
    return re.sub(r"^(\d*)([-+=.)])(?=[\s=-]|$)", r"\1\\\2", text)


def _run(run: Run) -> str:
    return (
        number(run.value) if run.outcome == "complete" else f"{number(run.value)} ({run.outcome})"
    )
