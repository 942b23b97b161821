"""The report's numbers for other programs: every trial as CSV, the arms as a LaTeX table."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from gradnoise_service.compare.choosing import finite, outcome
from gradnoise_service.compare.comparison import LOST, ArmSummary, Comparison
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.domain.study import Study, Trial
from gradnoise_service.report.page import lead, point_table

COLUMNS = (
    "phase",
    "arm",
    "number",
    "seed",
    "outcome",
    "value",
    "counts_as",
    "epochs",
    "device_seconds",
)
LEVEL = 0.95


def csv_text(study: Study, trials: Sequence[Trial]) -> str:
    """Return every trial as a row of CSV (RFC 4180): what it measured, as what it counts, its seed
    and its setting.

    `value` is the objective, on validation before the confirm phase and on test in it, empty where
    there is none that is finite; `counts_as` is the same with the metric's worst value for a lost
    trial. Confirm trials of equal number are pairs. Of a study without a search `point` numbers the
    settings that every arm ran. Numbers have all their digits.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.params or {}))
    without_search = study.spec.search is None
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow((*COLUMNS, *(("point",) if without_search else ()), *names))
    for trial in trials:
        counted = outcome(trial)
        value = finite(trial.value) if counted in ("complete", "pruned") else None
        counts_as = study.metric.worst if counted in LOST else value
        params = trial.params or {}
        row = (
            trial.phase,
            trial.arm,
            trial.number,
            trial.seed,
            counted,
            value,
            counts_as,
            trial.epochs,
            trial.device_seconds,
        )
        point = (trial.number % study.spec.n_points + 1,) if without_search else ()
        writer.writerow(
            [
                "" if cell is None else cell
                for cell in (*row, *point, *(params.get(name) for name in names))
            ]
        )
    return file.getvalue()


def latex(study: Study, comparison: Comparison) -> str:
    """Return the arms' confirm runs as a LaTeX table for the package booktabs.

    Best, mean with its BCa bootstrap interval (of at least 6 runs), median, n, lost runs, and the
    share above each threshold that the study declares (at it or beyond), with Wilson's interval.
    Lost runs are in, as the metric's worst value. Of a study without a search a second table has a
    row for each setting.
    """
    thresholds = [
        reached.threshold
        for reached in next((arm.reached for arm in comparison.arms if arm.reached), ())
    ]
    beyond = r"\geq" if comparison.direction == "maximize" else r"\leq"
    verdicts = " ".join(
        filter(
            None,
            (lead(comparison), *(difference.sentence for difference in comparison.differences)),
        )
    )
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        rf"\caption{{{escaped(study.spec.name)}{'' if comparison.is_final else ' (interim)'}. "
        rf"{escaped(verdicts)}}}",
        rf"\begin{{tabular}}{{lrrrrrr{'r' * len(thresholds)}}}",
        r"\toprule",
        " & ".join(
            (
                "Arm",
                "Best",
                "Mean",
                rf"{100 * LEVEL:.0f}\,\% interval",
                "Median",
                "$n$",
                "Lost",
                *(f"${beyond} {t:g}$" for t in thresholds),
            )
        )
        + r" \\",
        r"\midrule",
        *(" & ".join(_row(comparison, arm, len(thresholds))) + r" \\" for arm in comparison.arms),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        *(_points(study, comparison) if comparison.points else ()),
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Return text that LaTeX sets as it is.

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


def _points(study: Study, comparison: Comparison) -> Iterator[str]:
    header, rows = point_table(comparison)
    yield r"\begin{table}"
    yield (
        rf"\caption{{{escaped(study.spec.name)}: every setting, with the runs of each arm on test "
        rf"data. Nothing was tuned.}}"
    )
    yield rf"\begin{{tabular}}{{{'r' * len(header)}}}"
    yield r"\toprule"
    yield " & ".join(map(escaped, header)) + r" \\"
    yield r"\midrule"
    yield from (
        " & ".join("--" if cell == "–" else escaped(cell) for cell in row) + r" \\" for row in rows
    )
    yield from (r"\bottomrule", r"\end{tabular}", r"\end{table}")


def _row(comparison: Comparison, arm: ArmSummary, n_thresholds: int) -> Iterator[str]:
    runs = [row.runs[arm.name] for row in comparison.seeds]
    values = [run.value for run in runs if run.value is not None]
    best = arm.highest if comparison.direction == "maximize" else arm.lowest
    interval = (
        mean_interval(values, level=LEVEL, seed=comparison.study_seed) if len(values) > 5 else None
    )
    yield escaped(arm.name)
    yield _number(best)
    yield _number(arm.mean)
    yield "--" if interval is None else f"{_number(interval.low)} to {_number(interval.high)}"
    yield _number(arm.median)
    yield str(len(values))
    yield str(sum(run.outcome in LOST for run in runs))
    for one in arm.reached:
        yield (
            rf"{100 * one.n_reached / one.n:.0f}\,\% ({100 * one.interval.low:.0f} to "
            rf"{100 * one.interval.high:.0f})"
        )
    yield from ["--"] * (n_thresholds - len(arm.reached))


def _number(value: float | None) -> str:
    return (
        "--"
        if value is None
        else f"${value:.4g}$"
        if value < 0 or "e" in f"{value:.4g}"
        else f"{value:.4g}"
    )
