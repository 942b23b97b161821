"""A study: what it compares, its progress, its outcome."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from gradnoise_service.client import StudyInfo
from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.report.words.noise_ratio import noise_ratio
from gradnoise_service.report.words.numbers import count, duration, given, listed, moment, number
from gradnoise_service.report.words.queue import waits_for
from gradnoise_service.report.words.settings import length, space, techniques
from gradnoise_service.report.words.trial_errors import arm_error
from gradnoise_service.terminal.console import err, out, show_line
from gradnoise_service.terminal.outcome import show_outcome, show_warnings
from gradnoise_service.terminal.progress import bars
from gradnoise_service.terminal.tables import show_facts, show_table


def show_study(
    info: StudyInfo, progress: Progress, comparison: Mapping[str, Any] | None, base_url: str
) -> None:
    """Print the declaration of a study, its progress if it is not complete, and its outcome."""
    show_facts(_declaration(info))
    if info.state != "complete":
        show_warnings(info.warnings)
        out.print()
        _show_progress(progress)
    elif progress.errors:
        out.print()
        show_warnings(list(map(arm_error, progress.errors)))
    if progress.errors:
        printed = f"gradnoise logs {info.id} {progress.errors[0].trial}"
        page = base_url + info.links["page"]
        out.print(f"Tracebacks: {page}. What the trial printed: {printed}", style="dim")
    out.print()
    show_outcome(info, comparison, links(info, base_url))


def show_studies(studies: Sequence[StudyInfo]) -> None:
    """Print a row for each study; queued ones with their place in the queue.

    A terminal shows the owners only if there are several.
    """
    columns = ["id", "name", "state", "verdict", "workload", "owner", "submitted"]
    rows: list[list[object]] = [
        [s.id, s.name, s.state, s.verdict, s.workload, s.owner, moment(s.created_at, zone=None)]
        for s in studies
    ]
    if any(study.tags for study in studies):
        columns.append("tags")
        rows = [[*row, ", ".join(s.tags)] for row, s in zip(rows, studies, strict=True)]
    if any(study.queue for study in studies):
        columns.append("place")
        rows = [[*row, s.queue and s.queue.place] for row, s in zip(rows, studies, strict=True)]
    if out.is_terminal and len({study.owner for study in studies}) < 2:
        place = columns.index("owner")
        columns.pop(place)
        rows = [[*row[:place], *row[place + 1 :]] for row in rows]
    show_table(columns, rows)
    show_warnings(
        [f"{s.name} (id {s.id}): {arm_error(error)}" for s in studies for error in s.errors], err
    )


def show_remarks(info: StudyInfo) -> None:
    """Print the tags and the note of a study."""
    tags = ", ".join(info.tags) or None
    show_facts({"study": f"{info.name} (id {info.id})", "tags": tags, "note": info.note or None})


def show_plan(info: StudyInfo) -> None:
    """Print what a study would run, its cost, its power and its warnings."""
    if info.plan is None:
        return
    declared = _declaration(info)
    for unknown in ("study", "state", "tags", "note", "spec hash"):
        del declared[unknown]
    seconds = info.plan.device_seconds
    cost = "unknown, because no study has trained this workload with these options and optimizer"
    if seconds is not None:
        cost = f"about {duration(seconds)} of device time, by earlier studies of this workload"
    unit = "epoch" if info.spec.budget.steps is None else "measurement"
    trials = f"{count(info.plan.n_trials, 'trial')}, {count(info.plan.n_epochs, unit)} together"
    plan = {"trials": trials, "cost": cost, "power": info.plan.power}
    show_facts({"study": f"{info.name} (dry run: nothing is stored)"} | declared | plan)
    show_warnings(info.warnings)


def show_submitted(info: StudyInfo, base_url: str, *, is_new: bool = True) -> None:
    """Print that a study was submitted or existed before, with its address and its warnings."""
    label, state = ("Submitted ", "") if is_new else ("Already submitted: ", f", {info.state}")
    address = f" (id {info.id}{state}): {base_url}{info.links['page']}"
    out.print(Text.assemble(label, (info.name, "bold"), address))
    if info.plan is not None:
        err.print(info.plan.power, soft_wrap=not err.is_terminal)
    show_warnings(info.warnings)


def links(info: StudyInfo, base_url: str) -> dict[str, str]:
    """Return the addresses of a study's pages by name."""
    return {"page": base_url + info.links["page"], "Optuna Dashboard": info.links["dashboard"]}


def _declaration(info: StudyInfo) -> dict[str, object]:
    spec = info.spec
    submitted = moment(info.created_at, zone=None)
    return {
        "study": f"{info.name} (id {info.id}, owner {info.owner}, submitted {submitted})",
        "description": spec.description,
        "tags": ", ".join(info.tags) or None,
        "note": info.note or None,
        "state": f"{info.state}: {waits_for(info.queue)}" if info.queue else info.state,
        "workload": f"{info.workload} ({_options(spec.options)})"
        if spec.options
        else info.workload,
        **{f"arm {arm.name}": _recipe(spec, arm) for arm in spec.arms},
        "objective": (
            f"{info.metric.name}, {info.metric.direction}; the smallest difference that matters "
            f"is {number(spec.smallest_difference)}"
        ),
        "search": _search(spec),
        "rerun": _rerun(spec),
        "confirm": _confirm(info),
        "spec hash": info.spec_hash or None,
        **(
            {"pruned": f"logs, files and checkpoints, {moment(info.pruned_at, zone=None)}"}
            if info.pruned_at
            else {}
        ),
    }


def _pruned(info: StudyInfo) -> dict[str, str]:
    if info.pruned_at is None:
        return {}
    return {"removed": f"logs, files and checkpoints, {moment(info.pruned_at, zone=None)}"}


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {given(entry)}" for name, entry in options.items())


def _recipe(spec: StudySpec, arm: Arm) -> str:
    parts = [
        techniques(arm.techniques),
        f"optimizer {spec.recipe(arm).optimizer}",
        _options(arm.options),
        *(f"{name} {space(entry)}" for name, entry in arm.space.items()),
    ]
    return "; ".join(filter(None, parts))


def _search(spec: StudySpec) -> str:
    if spec.search is None:
        n_settings = Design.of(spec).n_settings
        return f"none: every arm runs {count(n_settings, 'setting')} on every seed"
    unequal = "".join(f", {arm.name} {arm.n_trials}" for arm in spec.arms if arm.n_trials)
    if spec.budget.equal == "device_seconds":
        unequal = ", fewer where they cost more"
    repeats = spec.search.repeats or 1
    of_each = f"{repeats} searches of " if repeats > 1 else ""
    return (
        f"{of_each}{count(spec.search.n_trials, 'trial')} per arm{unequal} of "
        f"{length(Design.of(spec), 'search')}, sampler "
        f"{spec.search.sampler}, pruner {spec.search.pruner.name}"
    )


def _rerun(spec: StudySpec) -> str | None:
    if spec.search is None or not spec.search.rerun.is_on:
        return None
    rerun = spec.search.rerun
    searcher = "search" if (spec.search.repeats or 1) > 1 else "arm"
    raced = ", or fewer: they race" if rerun.race else ""
    seeds = count(rerun.n_seeds, "other seed")
    return f"the best {rerun.top} settings of each {searcher} on {seeds}{raced}"


def _confirm(info: StudyInfo) -> str:
    looks, trained = info.spec.confirm.looks, length(Design.of(info.spec), "confirm")
    drops = Design.of(info.spec).drops
    fewer = f", or fewer{' of an arm' if drops else ''}: looks at {listed(looks)}" if looks else ""
    anytime = ", with a verdict at every number of them" if info.spec.confirm.anytime else ""
    return f"{info.n_seeds} paired seeds of {trained}{fewer}{anytime}"


def _show_progress(progress: Progress) -> None:
    if out.is_terminal:
        out.print(bars(progress), soft_wrap=False)
        return
    for arm in progress.arms:
        count = f"{arm.n_ended}/{arm.n_trials}"
        show_line("\t".join((arm.phase, arm.arm, count, number(arm.best_value))))
    for found in progress.noise:
        show_line(noise_ratio(found))
    show_warnings(list(map(arm_error, progress.errors)))
