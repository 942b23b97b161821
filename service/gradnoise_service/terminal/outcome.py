"""The outcome of a study: its verdict with the numbers behind it, or its error."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from gradnoise_service.client import StudyInfo
from gradnoise_service.terminal.console import out, show_line
from gradnoise_service.terminal.numbers import duration, interval, named_values, number
from gradnoise_service.terminal.tables import STATE_STYLES, VERDICT_STYLES, show_facts, show_table

PHASES = ("search", "rerun", "confirm")


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
    _show_verdict(comparison)
    _show_arms(comparison)
    if out.is_terminal:
        out.print()
    _show_differences(comparison)
    for warning in comparison["warnings"]:
        out.print(Text.assemble(("! ", "yellow"), warning), soft_wrap=not out.is_terminal)
    if out.is_terminal:
        out.print()


def _show_verdict(comparison: Mapping[str, Any]) -> None:
    verdict, sentence = comparison["verdict"], comparison["sentence"]
    if not out.is_terminal:
        label = "verdict" if comparison["is_final"] else "so far"
        show_line(f"{label}\t{verdict}\t{sentence}")
        return
    name = (verdict.replace("_", " "), VERDICT_STYLES[verdict])
    out.print(Text.assemble(name, "  ", sentence), soft_wrap=False)
    out.print()


def _show_arms(comparison: Mapping[str, Any]) -> None:
    setting = "fixed setting" if comparison.get("points") else "chosen setting"
    columns = ("arm", setting, f"mean {comparison['metric']}", "confirm runs", "device time")
    rows = (
        (
            arm["name"],
            named_values(arm["setting"] or {}),
            number(arm["mean"]),
            _confirm_runs(arm["confirm"]),
            duration(_device_seconds(arm)),
        )
        for arm in comparison["arms"]
    )
    show_table(columns, rows)


def _show_differences(comparison: Mapping[str, Any]) -> None:
    differences = comparison["differences"]
    intervals = [difference["difference_interval"] for difference in differences]
    levels = {ends["level"] for ends in intervals if ends}
    heading = "".join(f"{100 * level:.4g} % " for level in levels) + "interval"
    columns = ("compared", "difference", heading, "P(better)", heading, "p", "verdict")
    show_table(columns, map(_difference_row, differences))


def _difference_row(difference: Mapping[str, Any]) -> tuple[object, ...]:
    value, p_value = difference["difference"], difference["p_value"]
    return (
        f"{difference['arm']} - {difference['baseline']}",
        "-" if value is None else f"{value:+.4g}",
        interval(difference["difference_interval"]),
        number(difference["p_better"]),
        interval(difference["p_better_interval"]),
        "-" if p_value is None else f"{p_value:.2g}",
        difference["verdict"],
    )


def _confirm_runs(tally: Mapping[str, Any]) -> str:
    lost = tally["n_diverged"] + tally["n_failed"]
    ended = lost + tally["n_complete"] + tally["n_pruned"]
    return f"{ended} of {tally['n_declared']}" + (f", {lost} lost" if lost else "")


def _device_seconds(arm: Mapping[str, Any]) -> float:
    return float(sum(arm[phase]["device_seconds"] for phase in PHASES if phase in arm))
