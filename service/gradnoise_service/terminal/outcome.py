"""The outcome of a study: its verdict with the numbers behind it, or its error."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from gradnoise_service.client import StudyInfo
from gradnoise_service.compare.facts.comparison import Difference
from gradnoise_service.compare.facts.tables import Tally
from gradnoise_service.report.document import Report
from gradnoise_service.report.words.devices import busy
from gradnoise_service.report.words.numbers import (
    as_words,
    confidence,
    duration,
    number,
    p_value,
    percent,
    percent_span,
    signed,
    span,
)
from gradnoise_service.report.words.settings import chosen
from gradnoise_service.terminal.console import out, show_line
from gradnoise_service.terminal.tables import STATE_STYLES, VERDICT_STYLES, show_facts, show_table


def show_outcome(
    info: StudyInfo, comparison: Mapping[str, Any] | None, links: Mapping[str, str]
) -> None:
    """Print the comparison or the error of a study, then its links."""
    if comparison is not None:
        show_comparison(comparison)
    elif info.error:
        out.print(Text.assemble((f"{info.state}: ", STATE_STYLES[info.state]), info.error.strip()))
    show_facts(links)


def show_comparison(comparison: Mapping[str, Any]) -> None:
    """Print a comparison: verdict, arms with chosen settings, differences, warnings."""
    report = Report.model_validate(comparison)
    _show_verdict(report)
    _show_arms(report)
    if out.is_terminal:
        out.print()
    _show_differences(report)
    if use := report.protocol.get("busy"):
        out.print(f"Devices busy: {busy(use)}.", soft_wrap=not out.is_terminal)
    show_warnings(report.warnings)
    if out.is_terminal:
        out.print()


def show_warnings(warnings: Sequence[str], console: Console = out) -> None:
    """Print warnings, each with a mark."""
    for warning in warnings:
        text = Text.assemble(("! ", "yellow"), warning)
        console.print(text, soft_wrap=not console.is_terminal)


def _show_verdict(report: Report) -> None:
    if not out.is_terminal:
        label = "verdict" if report.is_final else "so far"
        show_line(f"{label}\t{report.verdict}\t{report.sentence}")
        return
    name = (as_words(report.verdict), VERDICT_STYLES[report.verdict])
    out.print(Text.assemble(name, "  ", report.sentence), soft_wrap=False)
    out.print()


def _show_arms(report: Report) -> None:
    kind = "fixed setting" if report.points else "chosen setting"
    columns = ("arm", kind, f"mean {report.metric}", "confirm runs", "device time")
    rows = (
        (
            arm.name,
            chosen(arm),
            number(arm.mean),
            _confirm_runs(arm.confirm),
            duration(arm.device_seconds),
        )
        for arm in report.arms
    )
    show_table(columns, rows)


def _show_differences(report: Report) -> None:
    intervals = [difference.difference_interval for difference in report.differences]
    levels = dict.fromkeys(confidence(interval.level) for interval in intervals if interval)
    heading = " ".join([*levels, "interval"])
    columns = ("compared", "difference", heading, "P(better)", heading, "p", "verdict")
    show_table(columns, map(_difference_row, report.differences))


def _difference_row(difference: Difference) -> tuple[object, ...]:
    return (
        f"{difference.arm} against {difference.baseline}",
        signed(difference.difference),
        span(difference.difference_interval),
        percent(difference.p_better),
        percent_span(difference.p_better_interval),
        p_value(difference.p_value),
        difference.verdict,
    )


def _confirm_runs(tally: Tally) -> str:
    lost = f", {tally.n_lost} lost" if tally.n_lost else ""
    return f"{tally.n_ended} of {tally.n_declared}{lost}"
