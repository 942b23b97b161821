"""The page on the reproduction of the paper, as Markdown."""

import shlex
from collections.abc import Iterator, Sequence

from gradnoise_service.domain.design import Design
from gradnoise_service.presets import FULL, LONG, PaperTable
from gradnoise_service.report.markdown_syntax import escaped, fenced, raw_table, table
from gradnoise_service.report.tables import point_table
from gradnoise_service.report.words.numbers import number
from gradnoise_service.reproduction.claims import Standing
from gradnoise_service.reproduction.length_rows import (
    LENGTHS,
    length_header,
    length_rows,
    length_sentences,
)
from gradnoise_service.reproduction.results import RowResult, TableResult
from gradnoise_service.reproduction.sentences import MARKS, NOT_RUN_MARK, SMALLER_MARK, sentences
from gradnoise_service.reproduction.table_rows import difference_rows, figure_rows

STANDINGS: tuple[Standing, ...] = ("reproduced", "not reproduced", "undecided", "not in the paper")
INTRODUCTION = (
    "Neelakantan et al. 2015, *Adding Gradient Noise Improves Learning for Very Deep Networks* "
    "([arXiv:1511.06807](https://arxiv.org/abs/1511.06807)), table by table: the paper's figures, "
    "our figures, and whether each claim is reproduced. `gradnoise reproduction --output FILE` "
    "writes this page from the studies stored by a service, from the results of earlier services, "
    "which it keeps in the folder `reproduction` beside the page, and from the presets, which hold "
    "the paper's figures."
)
RULES = (
    "A claim is about an arm of a row against the baseline. It uses the mean if the paper prints "
    "it, else the share of runs that reached its first threshold, else the best run. The verdict "
    "on a mean is the verdict of the study, over all pairs of runs with the same setting and seed "
    "([how](statistics.md#the-verdict)). A claim about the best run is compared with this verdict "
    "too, because a set of runs has only one best run. A share helps or hurts if the interval of "
    "its paired difference excludes 0 and the exact sign-flip test is significant. Where all "
    "arms ran several settings, the mean is over all settings, as in the paper. The best mean of a "
    "setting is shown beside it without a verdict, because it is over few runs and was selected on "
    "the same data."
)
RULE_ROWS = (
    ("ahead of the baseline", "helps", "hurts, or no difference", "undecided"),
    (
        "level with it, within the smallest difference that matters",
        "no difference",
        "helps or hurts",
        "undecided",
    ),
    ("behind it", "hurts", "helps, or no difference", "undecided"),
)
SMALLER_SCALES = (
    "Below full scale the task is another: shorter training on fewer seeds, for some tables other "
    "options. There a claim agrees or differs, and is neither reproduced nor not. Sizes are "
    "consistent if the paper's difference lies in the interval of ours. Runs that diverged or "
    "failed count as the metric's worst value."
)
COSTS = (
    "Device time of each table at full scale. It is measured for complete studies, else "
    "extrapolated from the device seconds per epoch of incomplete studies or of a smaller scale "
    "with the same options, else unknown. `python -m benchmarks.bench_workloads` extrapolates each "
    "table by its floating-point operations."
)


def page(results: Sequence[TableResult], *, pictures: str = "") -> str:
    """Return the page.

    Args:
        results: The tables.
        pictures: Folder of their pictures, `<table>.svg`, relative to the page; empty for a page
            without pictures.
    """
    return "\n".join(_lines(results, pictures)) + "\n"


def _lines(results: Sequence[TableResult], pictures: str) -> Iterator[str]:
    yield from ("# Reproduction of the paper", "", INTRODUCTION)
    yield from ("", "## Summary", "", *_summary(results))
    yield from ("", RULES, "")
    yield from table(
        (
            "the paper has the arm",
            "it is reproduced when ours",
            "it is not reproduced when ours",
            "else",
        ),
        RULE_ROWS,
    )
    yield from ("", SMALLER_SCALES)
    yield from ("", "## Cost", "", COSTS, "", *_costs(results))
    for result in results:
        yield ""
        yield from _section(result, pictures)


def _summary(results: Sequence[TableResult]) -> Iterator[str]:
    header = (
        "table",
        *(f"{MARKS[standing]} {standing}" for standing in STANDINGS),
        f"{SMALLER_MARK} below full scale",
        f"{NOT_RUN_MARK} rows not run",
        "size consistent",
        "scale",
    )
    yield from raw_table(header, map(_summary_row, results))


def _summary_row(result: TableResult) -> tuple[str, ...]:
    claims = [(row, claim) for row in result.rows for claim in row.claims]
    here = [c.standing for row, c in claims if row.is_measured or c.standing == "not in the paper"]
    n_smaller = len(claims) - len(here)
    sizes = [c.is_size_consistent for _, c in claims if c.is_size_consistent is not None]
    n_missing = sum(row.study is None for row in result.rows)
    scales = dict.fromkeys(row.study.scale for row in result.rows if row.study)
    return (
        f"[{result.table.name}](#{result.table.name})",
        *(str(here.count(standing) or "–") for standing in STANDINGS),
        str(n_smaller or "–"),
        f"{n_missing} of {len(result.rows)}" if n_missing else "–",
        f"{sum(sizes)} of {len(sizes)}" if sizes else "–",
        ", ".join(scales) or "–",
    )


def _costs(results: Sequence[TableResult]) -> Iterator[str]:
    header = ("table", "trials", "device time", "of its rows", "device")
    yield from table(header, map(_cost_row, results))


def _cost_row(result: TableResult) -> tuple[str, ...]:
    known = [row.full_seconds for row in result.rows if row.full_seconds is not None]
    n_measured = sum(row.is_measured for row in result.rows)
    counts = {
        "measured": n_measured,
        "extrapolated": len(known) - n_measured,
        "unknown": len(result.rows) - len(known),
    }
    devices = dict.fromkeys(
        str(row.study.comparison.protocol.get("device", "–")) for row in result.rows if row.study
    )
    return (
        result.table.name,
        str(sum(Design.of(row.full).n_trials_total for row in result.rows)),
        f"{number(round(sum(known) / 3600, 2))} h" if known else "–",
        ", ".join(f"{n} {name}" for name, n in counts.items() if n),
        ", ".join(devices) or "–",
    )


def _section(result: TableResult, pictures: str) -> Iterator[str]:
    name = result.table.name
    yield from (f"## {name}", "", escaped(result.table.description), "")
    yield from fenced("\n".join(_command(result.table, row) for row in result.rows), "sh")
    yield ""
    for row in result.rows:
        yield from sentences(row)
    if pictures and result.has_run:
        yield from ("", f"![Differences in the paper and here, row by row]({pictures}/{name}.svg)")
    if figures := [cells for row in result.rows for cells in figure_rows(row)]:
        header = ("row", "what", "in the paper", "here", "runs of an arm")
        yield from ("", *raw_table(header, figures))
    if result.has_run:
        yield from _differences(result)
    if any(row.lengths for row in result.rows):
        yield from _lengths(result, pictures)


def _lengths(result: TableResult, pictures: str) -> Iterator[str]:
    name = result.table.name
    yield from ("", "### By training length", "", LENGTHS, "")
    commands = [_command(result.table, row, LONG) for row in result.rows if row.lengths]
    yield from (*fenced("\n".join(commands), "sh"), "")
    yield from length_sentences(result)
    if pictures:
        yield from ("", f"![Means by training length]({pictures}/{name}-lengths.svg)")
    yield from ("", *raw_table(length_header(result), length_rows(result)))


def _command(paper_table: PaperTable, result: RowResult, scale: str = "") -> str:
    """Return the command that runs a row at the scale at which it ran, by default full scale."""
    scale = scale or (result.study.scale if result.study else FULL)
    return (
        f"gradnoise submit --preset {paper_table.name} --scale {scale} "
        f"--row {shlex.quote(result.row.name)} --watch"
    )


def _differences(result: TableResult) -> Iterator[str]:
    header = (
        "row",
        "arm",
        "mean difference",
        "interval",
        "in the paper",
        "size consistent",
        "pairs",
        "verdict",
        "scale",
        "device time",
    )
    yield ""
    yield from raw_table(header, [cells for row in result.rows for cells in difference_rows(row)])
    grids = [
        (row.row, row.study)
        for row in result.rows
        if row.study and len(row.study.comparison.points) > 1
    ]
    if not grids:
        return
    yield from ("", "<details><summary>Setting by setting</summary>")
    for row, study in grids:
        yield from ("", f"**{escaped(row.title)}**", "")
        yield from table(*point_table(study.comparison))
    yield from ("", "</details>")
