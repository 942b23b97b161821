"""The workloads, techniques and optimizers that the workers announced."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.padding import Padding
from rich.text import Text

from gradnoise_service.domain.catalogue import BrokenEntry, ParameterRange
from gradnoise_service.domain.phrases import (
    metric_in_words,
    option_in_words,
    range_in_words,
    rule_in_words,
)
from gradnoise_service.domain.rules import Rule
from gradnoise_service.domain.study import Metric
from gradnoise_service.report.words.broken import REPAIR, place
from gradnoise_service.terminal.console import out
from gradnoise_service.terminal.findings import show_finding
from gradnoise_service.terminal.tables import grid, show_table

Entry = Mapping[str, Any]
Line = tuple[str, str, str, str]
"""Kind, name, legal values and description."""

INDENT = 1
DETAILS = ("formula", "metric", "option", "parameter", "rule")


def show_workloads(
    workloads: Sequence[Entry],
    techniques: Sequence[Entry],
    optimizers: Sequence[Entry],
    broken: Sequence[BrokenEntry],
) -> None:
    """Print workloads with options, techniques and optimizers with parameters, and the broken."""
    lines = [
        *(line for workload in workloads for line in _workload(workload)),
        *(line for technique in techniques for line in _named("technique", technique)),
        *(line for optimizer in optimizers for line in _named("optimizer", optimizer)),
    ]
    if out.is_terminal:
        _show_sections(lines)
        for each in broken:
            show_finding(place(each), "fail", each.error, REPAIR)
        return
    errors = (
        ("broken", f"{each.kind} {each.name}", f"{each.value} of {each.package}", each.error)
        for each in broken
    )
    show_table(("kind", "name", "legal", "description"), [*lines, *errors])


def _workload(workload: Entry) -> Iterator[Line]:
    yield "workload", workload["name"], workload["package"], workload["description"]
    for metric in (Metric(**announced) for announced in workload["metrics"]):
        yield "metric", metric.name, metric_in_words(metric), metric.description
    for name, option in workload["options_schema"].get("properties", {}).items():
        yield "option", name, option_in_words(option), option.get("description", "")
    yield from _rules(workload["options_schema"].get("rules", ()))
    yield from _parameters(workload)


def _named(kind: str, entry: Entry) -> Iterator[Line]:
    yield kind, entry["name"], entry["package"], entry["description"]
    yield "formula", "formula", entry["formula"], entry["source"]
    yield from _parameters(entry)


def _parameters(entry: Entry) -> Iterator[Line]:
    for parameter in entry["parameters"]:
        yield "parameter", parameter["name"], _legal_values(parameter), parameter["description"]
    yield from _rules(entry["rules"])


def _legal_values(parameter: Entry) -> str:
    bounds = {name: parameter[name] for name in ("low", "high") if parameter[name] is not None}
    return range_in_words(
        ParameterRange(**{**parameter, "low": -math.inf, "high": math.inf} | bounds)
    )


def _rules(rules: Iterable[Entry]) -> Iterator[Line]:
    for rule in map(Rule.model_validate, rules):
        yield "rule", rule.field, rule_in_words(rule), ""


def _show_sections(lines: Sequence[Line]) -> None:
    """Print each workload, technique and optimizer as a section with its details in a grid."""
    details = grid(INDENT, 15, 30)
    for i, (kind, name, legal, description) in enumerate(lines):
        if kind in DETAILS:
            cells = (Text(legal, style="cyan"), Text(description, style="dim"))
            details.add_row("", name, *cells)
            continue
        if i > 0:
            out.print(details, soft_wrap=False)
            out.print()
        out.print(Text.assemble((f"{kind} ", "dim"), (name, "bold"), f"  {legal}"))
        out.print(Padding(Text(description), (0, 0, 0, 3)), soft_wrap=False)
        details = grid(INDENT, 15, 30)
    out.print(details, soft_wrap=False)
