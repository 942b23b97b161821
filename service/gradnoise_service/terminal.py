"""What the command line shows: tables, live progress, errors, verdicts; in colour on a terminal,
tab-separated where it is piped.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml
from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gradnoise_service.client import ApiError, Client, StudyInfo
from gradnoise_service.domain.progress import ArmProgress, Progress
from gradnoise_service.domain.study import STUDY_ENDED

STATE_STYLES = {
    "running": "cyan",
    "complete": "green",
    "failed": "red",
    "cancelled": "yellow",
    "queued": "dim",
}
VERDICT_STYLES = {
    "helps": "bold green",
    "hurts": "bold red",
    "no_difference": "bold blue",
    "undecided": "bold yellow",
}
BAR_WIDTH = 36

Entry = Mapping[str, Any]

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


def show_json(value: Any) -> None:
    """Print a value as one JSON document, on a single line unless a person is looking."""
    text = json.dumps(value, default=_jsonable)
    if out.is_terminal:
        out.print_json(text)
    else:
        plain(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings."""
    if not out.is_terminal:
        for row in (columns, *rows):
            plain("\t".join(_cell(cell) for cell in row))
        return
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(
            *(
                Text(_cell(cell), style=state_style(column, _cell(cell)))
                for column, cell in zip(columns, row, strict=True)
            )
        )
    out.print(shown, soft_wrap=False)


def state_style(column: str, cell: str) -> str:
    """Style the columns `state` and `verdict`."""
    return {"state": STATE_STYLES, "verdict": VERDICT_STYLES}.get(column, {}).get(cell, "")


def problem(error: ApiError) -> RenderableType:
    """Return a refusal as one block: what is wrong, each faulty field with its value and what is
    legal, what to do.
    """
    lines = [Text.assemble(("✗ ", "bold red"), (error.title, "bold"))]
    if not error.errors and error.detail:
        lines.append(Text(f"  {error.detail}"))
    for fault in error.errors:
        value = fault.get("value")
        given = "" if value is None else f" = {json.dumps(value, ensure_ascii=False)}"
        lines.append(Text.assemble("\n  ", (f"{fault.get('field')}", "bold cyan"), given))
        lines.append(Text(f"    {fault.get('message')}"))
        lines.append(Text.assemble(("    legal: ", "dim"), f"{fault.get('legal')}"))
    if error.hint:
        lines.append(Text(f"\n  {error.hint}" if error.errors else f"  {error.hint}", style="dim"))
    return Group(*lines)


def complaint(message: str, *details: str) -> RenderableType:
    """Return an error that is not a refusal: what is wrong, then further lines."""
    return Group(
        Text.assemble(("✗ ", "bold red"), message),
        *(Text(f"  {line}", style="dim") for line in details if line),
    )


def submitted(info: StudyInfo, base_url: str, *, is_new: bool = True) -> None:
    """Say that a study was submitted, or was there already, and where to look at it."""
    done, state = ("Submitted ", "") if is_new else ("Already there: ", f", {info.state}")
    out.print(
        Text.assemble(
            done, (info.name, "bold"), f" (id {info.id}{state}): {base_url}{info.links['page']}"
        )
    )


def studies_as_yaml(studies: Sequence[Entry]) -> str:
    """Return studies as one YAML file, with `---` between them."""
    return yaml.safe_dump_all(map(dict, studies), sort_keys=False, allow_unicode=True, width=120)


def links(info: StudyInfo, base_url: str) -> dict[str, str]:
    """Return the pages of a study by what they are."""
    return {"page": base_url + info.links["page"], "Optuna Dashboard": info.links["dashboard"]}


def study(
    info: StudyInfo, progress: Progress, comparison: Mapping[str, Any] | None, base_url: str
) -> None:
    """Print a study: what is asked, how far it is, what came out, where more is to be found."""
    spec = info.spec
    search, rerun = spec.search, spec.rerun
    unequal = "".join(f", {arm.name} {arm.n_trials}" for arm in spec.arms if arm.n_trials)
    tuning = (
        f"none: every arm runs {spec.n_points} {'setting' if spec.n_points == 1 else 'settings'} "
        "on every seed"
    )
    if search is not None:
        pruner = search.pruner.name
        tuning = (
            f"{search.n_trials} trials an arm{unequal} of {search.epochs} epochs, sampler "
            f"{search.sampler}, pruner {pruner}"
        )
    looks = (
        f", or fewer: looks at {', '.join(map(str, spec.confirm.looks))}"
        if spec.confirm.looks
        else ""
    )
    rows = {
        "study": f"{info.name} (id {info.id}, owner {info.owner}, submitted {moment(info.created_at)})",
        "asks": spec.description,
        "state": info.state,
        "workload": f"{info.workload} {_settings(spec.options)}".strip(),
        "objective": (
            f"{info.metric.name}, {info.metric.direction}; a difference of "
            f"{spec.smallest_difference:g} matters"
        ),
        "search": tuning,
        "rerun": f"the best {rerun.top} settings of each arm on {rerun.n_seeds} other seeds"
        if rerun.is_on
        else None,
        "confirm": f"{spec.confirm.n_seeds} paired seeds of {spec.confirm_epochs} epochs{looks}",
    }
    facts(rows)
    if info.state != "complete":
        out.print()
        if out.is_terminal:
            out.print(bars(progress), soft_wrap=False)
        else:
            for arm in progress.arms:
                plain(
                    "\t".join(
                        (
                            arm.phase,
                            arm.arm,
                            f"{arm.n_ended}/{arm.n_trials}",
                            number(arm.best_value),
                        )
                    )
                )
    out.print()
    outcome(info, comparison, links(info, base_url))


def facts(rows: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    if not out.is_terminal:
        for name, value in rows.items():
            plain(f"{name}\t{_cell(value)}")
        return
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in rows.items():
        shown.add_row(name, Text(_cell(value), style=state_style(name, _cell(value))))
    out.print(shown, soft_wrap=False)


def outcome(
    info: StudyInfo, comparison: Mapping[str, Any] | None, links: Mapping[str, str]
) -> None:
    """Print what came of a study: its verdict with the figures that it rests on, or its error; then
    where more is to be found.
    """
    if comparison is not None:
        verdict(comparison)
    elif info.error:
        out.print(Text.assemble((f"{info.state}: ", STATE_STYLES[info.state]), info.error.strip()))
    facts(links)


def verdict(comparison: Entry) -> None:
    """Print a comparison: the verdict, the arms with their chosen settings, each arm against the
    baseline, what to be careful about.
    """
    label = "verdict" if comparison["is_final"] else "so far"
    word = comparison["verdict"].replace("_", " ")
    if out.is_terminal:
        out.print(
            Text.assemble(
                (f"{word}", VERDICT_STYLES[comparison["verdict"]]), "  ", comparison["sentence"]
            ),
            soft_wrap=False,
        )
        out.print()
    else:
        plain(f"{label}\t{comparison['verdict']}\t{comparison['sentence']}")
    metric = comparison["metric"]
    arms = (
        (
            arm["name"],
            _settings(arm["setting"] or {}),
            number(arm["mean"]),
            _runs(arm["confirm"]),
            _cost(arm),
        )
        for arm in comparison["arms"]
    )
    setting = "setting of its own" if comparison.get("points") else "chosen setting"
    table(("arm", setting, f"mean {metric}", "confirm runs", "device time"), arms)
    if out.is_terminal:
        out.print()
    levels = {
        one["difference_interval"]["level"]
        for one in comparison["differences"]
        if one["difference_interval"]
    }
    interval = "".join(f"{100 * level:.4g} % " for level in levels) + "interval"
    table(
        ("compared", "difference", interval, "P(better)", interval, "p", "verdict"),
        map(_compared, comparison["differences"]),
    )
    for warning in comparison["warnings"]:
        out.print(Text.assemble(("! ", "yellow"), warning), soft_wrap=not out.is_terminal)
    if out.is_terminal:
        out.print()


def watch(client: Client, study_id: int, *, as_json: bool) -> int:
    """Follow a study to its end, print what came of it, and return the exit code that it deserves."""
    try:
        if as_json:
            for progress in client.watch(study_id):
                show_json(progress)
        else:
            follow(client.watch(study_id))
    except KeyboardInterrupt:
        err.print(
            f"The study goes on; `gradnoise watch {study_id}` takes it up again.", style="dim"
        )
        raise
    info = client.study(study_id)
    if not as_json:
        outcome(
            info,
            client.comparison(study_id) if info.state == "complete" else None,
            links(info, client.base_url),
        )
    return 0 if info.state == "complete" else 1


def follow(events: Iterable[Progress], console: Console = out) -> None:
    """Show progress as it comes: live on a terminal, else a line at each tenth of the trials."""
    shown: tuple[str, int] | None = None
    if not console.is_terminal:
        for progress in events:
            if (mark := (progress.state, _tenths(progress))) != shown:
                shown = mark
                console.out(summary(progress), highlight=False)
        return
    with Live(Text("Waiting for the first news ..."), console=console) as live:
        for progress in events:
            live.update(bars(progress), refresh=True)


def bars(progress: Progress) -> RenderableType:
    """Return a bar for each arm in each phase, with the best value so far, under a line with state
    and time left.
    """
    shown = Table.grid(padding=(0, 2, 0, 0))
    for arm in progress.arms:
        is_done = arm.n_ended == arm.n_trials
        bar = ProgressBar(
            total=arm.n_trials,
            completed=arm.n_ended,
            width=BAR_WIDTH,
            complete_style="cyan",
            finished_style="green",
        )
        count = Text(f"{arm.n_ended}/{arm.n_trials}", style="green" if is_done else "")
        shown.add_row(
            Text(arm.phase, style="dim"),
            Text(arm.arm),
            bar,
            count,
            _best(arm),
            Text(_losses(arm), style="yellow"),
        )
    state = (progress.state, STATE_STYLES[progress.state])
    head = Text.assemble((progress.name, "bold"), "  ", state, "  ", (_left(progress), "dim"))
    return Group(head, shown)


def summary(progress: Progress) -> str:
    """Return progress in one plain line."""
    # the arms stand by phase
    phase = next(
        (arm.phase for arm in progress.arms if arm.n_ended < arm.n_trials), progress.arms[-1].phase
    )
    arms = [
        f"{arm.arm} {arm.n_ended}/{arm.n_trials} {_best(arm)}".rstrip()
        for arm in progress.arms
        if arm.phase == phase
    ]
    return "  ".join(
        part
        for part in (progress.name, progress.state, f"{phase}: {', '.join(arms)}", _left(progress))
        if part
    )


def _tenths(progress: Progress) -> int:
    n_trials = sum(arm.n_trials for arm in progress.arms)
    return 10 * sum(arm.n_ended for arm in progress.arms) // max(1, n_trials)


def _best(arm: ArmProgress) -> Text:
    return Text("" if arm.best_value is None else f"best {number(arm.best_value)}")


def _losses(arm: ArmProgress) -> str:
    counts = {"pruned": arm.n_pruned, "diverged": arm.n_diverged, "failed": arm.n_failed}
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n)


def _left(progress: Progress) -> str:
    if progress.state in STUDY_ENDED:
        return ""
    if progress.seconds_left is None:
        return "waiting for a worker" if progress.state == "queued" else "estimating the time left"
    return f"about {duration(progress.seconds_left)} left"


def finding(name: str, state: str, detail: str, hint: str) -> None:
    """Print one finding of the doctor."""
    if not out.is_terminal:
        plain("\t".join(part for part in (state, name, detail, hint) if part))
        return
    mark, style = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}[state]
    shown = _grid(1, 16)
    shown.add_row(Text(mark, style=style), Text(name, style="bold"), Text(detail))
    if hint:
        shown.add_row("", "", Text(hint, style=style))
    out.print(shown, soft_wrap=False)


def catalogue(
    workloads: Sequence[Entry], techniques: Sequence[Entry], optimizers: Sequence[Entry]
) -> None:
    """Print what can be trained and how: every workload with its options, every technique and
    optimizer with its parameters.
    """
    rows: list[tuple[str, str, str, str]] = []
    for workload in workloads:
        metrics = ", ".join(
            f"{metric['name']} ({metric['direction']})" for metric in workload["metrics"]
        )
        rows.append(("workload", workload["name"], metrics, workload["description"]))
        options = workload["options_schema"].get("properties", {})
        rows += [
            ("option", name, _legal(option), option.get("description", ""))
            for name, option in options.items()
        ]
        rows += [
            ("parameter", one["name"], _bounds(one), one["description"])
            for one in workload["parameters"]
        ]
    for kind, entries in (("technique", techniques), ("optimizer", optimizers)):
        for entry in entries:
            rows.append((kind, entry["name"], "", entry["description"]))
            rows += [
                ("parameter", one["name"], _bounds(one), one["description"])
                for one in entry["parameters"]
            ]
    if not out.is_terminal:
        table(("kind", "name", "takes", "is"), rows)
        return
    shown = _grid(1, 15, 30)
    for kind, name, takes, is_ in rows:
        if kind in ("option", "parameter"):
            shown.add_row("", name, Text(takes, style="cyan"), Text(is_, style="dim"))
            continue
        out.print(shown, soft_wrap=False)
        if (kind, name) != rows[0][:2]:
            out.print()
        out.print(Text.assemble((f"{kind} ", "dim"), (name, "bold"), f"  {takes}"))
        out.print(Padding(Text(is_), (0, 0, 0, 3)), soft_wrap=False)
        shown = _grid(1, 15, 30)
    out.print(shown, soft_wrap=False)


def _grid(*widths: int) -> Table:
    """Return a table without lines, whose first columns have these widths and whose last takes the
    rest.
    """
    shown = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        shown.add_column(width=width, overflow="fold")
    shown.add_column(overflow="fold")
    return shown


def moment(at: datetime) -> str:
    """Return a moment in local time, to the minute."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def number(value: float | None) -> str:
    """Return a value to four significant digits, `-` for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a span of time as people say it.

    >>> duration(42), duration(150), duration(7300)
    ('42 s', '2 min 30 s', '2 h 2 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _compared(one: Entry) -> tuple[object, ...]:
    difference = "-" if one["difference"] is None else f"{one['difference']:+.4g}"
    p_value = "-" if one["p_value"] is None else f"{one['p_value']:.2g}"
    shown = (
        difference,
        _interval(one["difference_interval"]),
        number(one["p_better"]),
        _interval(one["p_better_interval"]),
        p_value,
    )
    return (f"{one['arm']} - {one['baseline']}", *shown, one["verdict"])


def _interval(interval: Entry | None) -> str:
    return "-" if interval is None else f"[{number(interval['low'])}, {number(interval['high'])}]"


def _runs(tally: Entry) -> str:
    lost = tally["n_diverged"] + tally["n_failed"]
    ended = lost + tally["n_complete"] + tally["n_pruned"]
    return f"{ended} of {tally['n_declared']}" + (f", {lost} lost" if lost else "")


def _cost(arm: Entry) -> str:
    return duration(
        sum(
            arm[phase]["device_seconds"] for phase in ("search", "rerun", "confirm") if phase in arm
        )
    )


def _legal(option: Entry) -> str:
    """Say what a JSON Schema allows, and what it is by default."""
    legal = (
        " | ".join(map(str, option["enum"]))
        if "enum" in option
        else str(option.get("type", "anything"))
    )
    if "minimum" in option or "maximum" in option:
        legal += f" in [{option.get('minimum', '-inf')}, {option.get('maximum', 'inf')}]"
    return f"{legal} = {option['default']}" if "default" in option else legal


def _bounds(parameter: Entry) -> str:
    if parameter["choices"]:
        return " | ".join(parameter["choices"])
    low, high = parameter["low"], parameter["high"]
    start = "(-inf" if low is None else f"{'(' if parameter['low_open'] else '['}{low:g}"
    return (
        f"{'whole in ' if parameter['integer'] else ''}{start}, "
        f"{'inf)' if high is None else f'{high:g}]'}"
    )


def _settings(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name}={number(value) if isinstance(value, float) else value}"
        for name, value in values.items()
    )


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else " ".join(str(value).split())


def plain(line: str) -> None:
    """Print a line as it is, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _jsonable(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return (
        dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else str(value)
    )
