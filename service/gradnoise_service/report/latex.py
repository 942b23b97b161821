"""The report's arms and their recipes as LaTeX tables; without a search also the settings."""

import re
from collections.abc import Iterator, Sequence

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.domain.study import Study
from gradnoise_service.report.document import Report, document
from gradnoise_service.report.tables import point_table, recipe_table, thresholds

LEVEL = 0.95
FEWEST_RUNS = 6
"""The fewest runs of an arm whose mean has an interval."""


def render(study: Study, comparison: Comparison) -> str:
    """Return the arms' confirm runs as a LaTeX table for the package booktabs.

    Best, mean with its BCa bootstrap interval, median, n, lost runs, and the share of runs that
    reach each declared threshold, with Wilson's interval. A lost run counts as the metric's worst
    value.
    """
    report = document(study, comparison)
    lines = [
        "% needs \\usepackage{booktabs}",
        *_arms(study, report),
        *_recipes(study, report),
        *(_points(study, comparison) if comparison.points else ()),
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Return text that LaTeX sets unchanged.

    >>> escaped("50 % of a_b & \\c −1")
    '50 \\% of a\\_b \\& \\textbackslash{}c $-$1'
    """
    marks = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "−": "$-$",
        "±": r"$\pm$",
        "–": "--",
    }
    return re.sub(
        r"[\\~^−±–&%$#_{}<>|]",
        lambda found: marks.get(found[0]) or _plain(found[0]),
        " ".join(text.split()),
    )


def _plain(mark: str) -> str:
    return f"${mark}$" if mark in "<>|" else "\\" + mark


def _arms(study: Study, report: Report) -> Iterator[str]:
    beyond = r"\geq" if report.direction == "maximize" else r"\leq"
    limits = [f"${beyond} {threshold:g}$" for threshold in thresholds(report)]
    interval = rf"{100 * LEVEL:.0f}\,\% interval"
    header = ["Arm", "Best", "Mean", interval, "Median", "$n$", "Lost", *limits]
    sentences = [*report.leads, *(difference.sentence for difference in report.differences)]
    verdicts = " ".join(sentences)
    interim = "" if report.is_final else " (interim)"
    caption = f"{escaped(study.spec.name)}{interim}. {escaped(verdicts)}"
    rows = [list(_row(report, arm, len(limits))) for arm in report.arms]
    yield from _table(caption, f"l{'r' * (len(header) - 1)}", header, rows)


def _recipes(study: Study, report: Report) -> Iterator[str]:
    header, rows = recipe_table(report)
    caption = f"{escaped(study.spec.name)}: what differs between the arms and what is equal."
    cells = [[*map(escaped, row)] for row in rows]
    yield from _table(caption, "l" * len(header), [*map(escaped, header)], cells)


def _points(study: Study, comparison: Comparison) -> Iterator[str]:
    header, rows = point_table(comparison)
    caption = (
        f"{escaped(study.spec.name)}: every setting, with the runs of each arm on "
        f"{comparison.split} data. Nothing was tuned."
    )
    cells = [[*map(escaped, row)] for row in rows]
    yield from _table(caption, "r" * len(header), [*map(escaped, header)], cells)


def _table(
    caption: str, columns: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> Iterator[str]:
    yield from (r"\begin{table}", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}")
    yield r"\toprule"
    yield " & ".join(header) + r" \\"
    yield r"\midrule"
    yield from (" & ".join(row) + r" \\" for row in rows)
    yield from (r"\bottomrule", r"\end{tabular}", r"\end{table}")


def _row(comparison: Comparison, arm: ArmSummary, n_thresholds: int) -> Iterator[str]:
    values = [value for row in comparison.seeds if (value := row.runs[arm.name].value) is not None]
    yield escaped(arm.name)
    yield _number(arm.highest if comparison.direction == "maximize" else arm.lowest)
    yield _number(arm.mean)
    yield _mean_interval(arm, values, comparison.study_seed)
    yield _number(arm.median)
    yield str(len(values))
    yield str(arm.confirm.n_lost)
    for reached in arm.reached:
        low, high = 100 * reached.interval.low, 100 * reached.interval.high
        yield rf"{100 * reached.n_reached / reached.n:.0f}\,\% ({low:.0f} to {high:.0f})"
    yield from ["--"] * (n_thresholds - len(arm.reached))


def _mean_interval(arm: ArmSummary, values: Sequence[float], seed: int) -> str:
    """Return the interval of an arm's mean: over its runs, or over its repeated searches."""
    # numpy and scipy are imported with the first computation: stored comparisons are shown without
    means = [chosen.mean for chosen in arm.chosen if chosen.mean is not None]
    if len(arm.chosen) > 1:
        if len(means) < len(arm.chosen):
            return "--"
        from gradnoise_service.compare.searches import student_interval

        low, high = student_interval(means, level=LEVEL)
        return f"{_number(low)} to {_number(high)}"
    if len(values) < FEWEST_RUNS:
        return "--"
    from gradnoise_service.compare.intervals import mean_interval

    interval = mean_interval(values, level=LEVEL, seed=seed)
    return f"{_number(interval.low)} to {_number(interval.high)}"


def _number(value: float | None) -> str:
    if value is None:
        return "--"
    text = f"{value:.4g}"
    return f"${text}$" if value < 0 or "e" in text else text
