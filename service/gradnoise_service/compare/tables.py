"""Tables of a comparison: search trials, confirm runs, summaries of arms and settings."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradnoise_service.compare.choosing import (
    Choice,
    as_counted,
    choices,
    counted_value,
    diverged_later,
    measured_value,
    outcome,
)
from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.tables import (
    ArmSummary,
    Chosen,
    GridPoint,
    PointRuns,
    Reached,
    Run,
    SearchPoint,
    SeedRow,
    Tally,
)
from gradnoise_service.compare.intervals import share_interval
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.spec import Judge, Phase
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.domain.trial_errors import error_in_a_line


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of a comparison; `points` is empty where each arm has its own setting."""

    arms: tuple[ArmSummary, ...]
    seeds: tuple[SeedRow, ...]
    points: tuple[GridPoint, ...]
    search: tuple[SearchPoint, ...]


def tabulate(
    design: Design,
    metric: Metric,
    trials: Sequence[Trial],
    dropped_at: Mapping[str, int] | None = None,
) -> Tables:
    """Return the tables of a study's trials, in any order, with the design's confirm seeds.

    Args:
        dropped_at: Seeds after which an arm was dropped, by arm.
    """
    dropped_at = dropped_at or {}
    chosen = [choices(design, metric, trials, repeat) for repeat in range(design.n_repeats)]
    rows = seed_rows(design, metric, trials, dropped_at)
    return Tables(
        arms=tuple(
            summary(
                design.at(dropped_at.get(arm.name, design.n_seeds)),
                metric,
                arm.name,
                [of[arm.name] for of in chosen],
                rows,
                trials,
            )
            for arm in design.spec.arms
        ),
        seeds=rows,
        points=grid_points(design, metric, rows),
        search=search_points(design, metric, trials),
    )


def search_points(
    design: Design, metric: Metric, trials: Sequence[Trial]
) -> tuple[SearchPoint, ...]:
    """Return the search trials that have started, by arm and number."""
    return tuple(
        point
        for arm in design.spec.arms
        for point in _arm_points(design, metric, _of(trials, "search", arm.name))
    )


def seed_rows(
    design: Design,
    metric: Metric,
    trials: Sequence[Trial],
    dropped_at: Mapping[str, int] | None = None,
) -> tuple[SeedRow, ...]:
    """Return the design's confirm runs by number, every arm's side by side.

    A run that is not declared yet is `open`; one after which its arm was dropped is `dropped`.
    """
    counted, judge = as_counted(design, metric, trials, "confirm"), design.spec.judge
    found = {(t.arm, t.number): _run(counted, t, judge) for t in trials if t.phase == "confirm"}
    missing, never = Run(outcome="open", value=None), Run(outcome="dropped", value=None)
    n_runs = {arm: design.at(n_seeds).n_pairs for arm, n_seeds in (dropped_at or {}).items()}
    n_shared = len(design.shared_settings)
    arms = [arm.name for arm in design.spec.arms]
    return tuple(
        SeedRow(
            number=i,
            seed=design.seed("confirm", design.baseline.name, i),
            point=i % n_shared if n_shared else None,
            runs={
                arm: found.get((arm, i), never if i >= n_runs.get(arm, design.n_pairs) else missing)
                for arm in arms
            },
        )
        for i in range(design.n_pairs)
    )


def grid_points(design: Design, metric: Metric, rows: Sequence[SeedRow]) -> tuple[GridPoint, ...]:
    """Return each shared setting with every arm's runs of it."""
    settings = design.shared_settings
    return tuple(
        GridPoint(
            params=dict(params),
            runs={
                arm.name: _point_runs(design, metric, arm.name, rows[k :: len(settings)])
                for arm in design.spec.arms
            },
        )
        for k, params in enumerate(settings)
    )


def summary(
    design: Design,
    metric: Metric,
    arm: str,
    choices: Sequence[Choice | None],
    rows: Sequence[SeedRow],
    trials: Sequence[Trial],
) -> ArmSummary:
    """Return the summary of an arm, with its choice in each search."""
    reruns = _of(trials, "rerun", arm)
    judge = design.spec.judge
    values = _values(rows, arm)
    chosen = tuple(
        _chosen(design, arm, choice, _values(rows[repeat :: design.n_repeats], arm))
        for repeat, choice in enumerate(choices)
    )
    means = [found.mean for found in chosen if found.mean is not None]
    return ArmSummary(
        name=arm,
        techniques=tuple(design.arm(arm).techniques),
        chosen=chosen,
        search=_tally(design.n_trials("search", arm), _of(trials, "search", arm), judge),
        # an arm with few settings has fewer reruns than planned
        rerun=_tally(len(reruns) or design.n_trials("rerun", arm), reruns, judge),
        confirm=_tally(design.n_pairs, _of(trials, "confirm", arm), judge),
        mean=statistics.fmean(means) if means else None,
        median=statistics.median(values) if values else None,
        lowest=min(values, default=None),
        highest=max(values, default=None),
        reached=_all_reached(design, metric, arm, rows),
    )


def reached(metric: Metric, arm: str, threshold: float, rows: Sequence[SeedRow]) -> Reached:
    """Return how many of an arm's runs, of which at least one has a value, reach a threshold."""
    runs = [run for row in rows if (run := row.runs[arm]).value is not None]
    n_reached = sum(run.reaches(threshold, metric.sign) for run in runs)
    interval = share_interval(n_reached / len(runs), len(runs), level=1 - ALPHA)
    return Reached(threshold=threshold, n_reached=n_reached, n=len(runs), interval=interval)


def _chosen(design: Design, arm: str, choice: Choice | None, values: Sequence[float]) -> Chosen:
    trial = choice.trial if choice else None
    search_value = measured_value(trial, design.spec.judge) if trial else None
    rerun_mean = choice.rerun_mean if choice else None
    setting = trial.params if trial else design.own_setting(arm)
    return Chosen(
        setting=None if setting is None else dict(setting),
        number=trial.number if trial else None,
        value=search_value if rerun_mean is None else rerun_mean,
        search_value=search_value,
        n=len(values),
        mean=statistics.fmean(values) if values else None,
    )


def _arm_points(design: Design, metric: Metric, trials: Sequence[Trial]) -> list[SearchPoint]:
    points, judge = [], design.spec.judge
    best: float | None = None
    for trial in trials:
        repeat, position = design.place("search", trial.arm, trial.number)
        best = None if position == 0 else best
        counted, value = outcome(trial, judge), measured_value(trial, judge)
        if trial.params is None and counted in ("open", "cancelled"):
            continue
        # only a complete trial can improve on the best so far
        if counted == "complete" and value is not None:
            best = value if best is None else max(best, value, key=lambda x: metric.sign * x)
        points.append(
            SearchPoint(
                arm=trial.arm,
                number=trial.number,
                repeat=repeat,
                seed=trial.seed,
                outcome=counted,
                value=value,
                best=best,
                params=dict(trial.params or {}),
                device_seconds=trial.device_seconds,
            )
        )
    return points


def _run(metric: Metric, trial: Trial, judge: Judge) -> Run:
    counted = outcome(trial, judge)
    is_result = counted == "complete" or counted in LOST
    return Run(outcome=counted, value=counted_value(metric, trial, judge) if is_result else None)


def _point_runs(design: Design, metric: Metric, arm: str, rows: Sequence[SeedRow]) -> PointRuns:
    values = _values(rows, arm)
    return PointRuns(
        n=len(values),
        n_lost=sum(row.runs[arm].outcome in LOST for row in rows),
        mean=statistics.fmean(values) if values else None,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        best=max(values, key=lambda value: metric.sign * value, default=None),
        reached=_all_reached(design, metric, arm, rows),
    )


def _all_reached(
    design: Design, metric: Metric, arm: str, rows: Sequence[SeedRow]
) -> tuple[Reached, ...]:
    if not _values(rows, arm):
        return ()
    thresholds = design.spec.confirm.thresholds
    return tuple(reached(metric, arm, threshold, rows) for threshold in thresholds)


def _values(rows: Sequence[SeedRow], arm: str) -> list[float]:
    return [value for row in rows if (value := row.runs[arm].value) is not None]


def _of(trials: Sequence[Trial], phase: Phase, arm: str) -> list[Trial]:
    return sorted((t for t in trials if t.phase == phase and t.arm == arm), key=lambda t: t.number)


def _tally(n_declared: int, trials: Sequence[Trial], judge: Judge) -> Tally:
    counts = [outcome(trial, judge) for trial in trials]
    errors = [trial.error for trial in trials if trial.state == "failed" and trial.error]
    return Tally(
        n_declared=n_declared,
        n_complete=counts.count("complete"),
        n_diverged=counts.count("diverged"),
        n_pruned=counts.count("pruned"),
        n_failed=counts.count("failed"),
        n_diverged_later=sum(
            counted == "complete" and diverged_later(trial, judge)
            for trial, counted in zip(trials, counts, strict=True)
        ),
        device_seconds=sum(trial.device_seconds for trial in trials),
        first_error=next(map(error_in_a_line, errors), ""),
    )
