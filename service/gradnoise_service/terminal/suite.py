"""Suites: their list, and the answer of one over its studies."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from gradnoise_service.report.suite import HEADER, SuiteReport, effect_table
from gradnoise_service.report.words.numbers import as_words
from gradnoise_service.terminal.console import err, out
from gradnoise_service.terminal.tables import VERDICT_STYLES, show_table


def show_suites(suites: Sequence[Mapping[str, Any]]) -> None:
    """Print each suite with its numbers of studies."""
    columns = ("name", "studies", "ended", "owner")
    show_table(columns, ((s["name"], s["n_studies"], s["n_ended"], s["owner"]) for s in suites))
    if not suites:
        err.print("No suites. Submit one: `gradnoise submit --preset suite-small`.", style="dim")


def show_suite(suite: Mapping[str, Any]) -> None:
    """Print the answers of a suite and the effects of its studies."""
    for answer in SuiteReport.model_validate(suite).answers:
        verdict = Text(as_words(answer.verdict), style=VERDICT_STYLES[answer.verdict])
        out.print(Text.assemble(verdict, "  ", answer.sentence), soft_wrap=not out.is_terminal)
        show_table(HEADER, effect_table(answer))
