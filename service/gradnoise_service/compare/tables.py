"""From trials to tables: the search trials with the best so far, the confirm runs seed by seed, a
summary of each arm and each point.
"""

import statistics
from collections.abc import Sequence

from gradnoise_service.compare.choosing import Choice, finite, outcome
from gradnoise_service.compare.comparison import (
    LOST,
    ArmSummary,
    GridPoint,
    PointRuns,
    Reached,
    Run,
    SearchPoint,
    SeedRow,
    Tally,
)
from gradnoise_service.compare.intervals import share_interval
from gradnoise_service.compare.verdict import ALPHA
from gradnoise_service.domain.spec import Arm, Phase, StudySpec
from gradnoise_service.domain.study import Metric, Trial


def search_points(
    spec: StudySpec, metric: Metric, trials: Sequence[Trial]
) -> tuple[SearchPoint, ...]:
    """Return the search trials that have started, by arm and number. Only a complete trial can
    improve on the best so far.
    """
    points = []
    for arm in spec.arms:
        best: float | None = None
        for trial in _of(trials, "search", arm.name):
            counted = outcome(trial)
            if trial.params is None and counted in ("open", "cancelled"):
                continue
            value = finite(trial.value) if counted in ("complete", "pruned") else None
            if (
                counted == "complete"
                and value is not None
                and (best is None or metric.sign * value > metric.sign * best)
            ):
                best = value
            points.append(
                SearchPoint(
                    arm=arm.name,
                    number=trial.number,
                    seed=trial.seed,
                    outcome=counted,
                    value=value,
                    best=best,
                    params=dict(trial.params or {}),
                    device_seconds=trial.device_seconds,
                )
            )
    return tuple(points)


def seed_rows(spec: StudySpec, metric: Metric, trials: Sequence[Trial]) -> tuple[SeedRow, ...]:
    """Return the declared confirm seeds with every arm's run, without a search for each setting; a
    run that is not there is `open`.
    """
    found = {(t.arm, t.number): t for t in trials if t.phase == "confirm"}

    def run(arm: str, number: int) -> Run:
        trial = found.get((arm, number))
        counted = outcome(trial) if trial else "open"
        value = finite(trial.value) if trial and counted == "complete" else None
        return Run(outcome=counted, value=metric.worst if counted in LOST else value)

    return tuple(
        SeedRow(
            number=i,
            seed=spec.trial_seed("confirm", i),
            point=None if spec.search else i % spec.n_points,
            runs={arm.name: run(arm.name, i) for arm in spec.arms},
        )
        for i in range(spec.n_pairs)
    )


def grid_points(spec: StudySpec, metric: Metric, rows: Sequence[SeedRow]) -> tuple[GridPoint, ...]:
    """Return each setting of a study without a search with every arm's runs of it; none where each
    arm has chosen its own.
    """
    return tuple(
        GridPoint(
            params=params,
            runs={
                arm.name: _point_runs(spec, metric, arm, rows[k :: spec.n_points])
                for arm in spec.arms
            },
        )
        for k, params in enumerate(() if spec.search else spec.points())
    )


def _point_runs(spec: StudySpec, metric: Metric, arm: Arm, rows: Sequence[SeedRow]) -> PointRuns:
    runs = [row.runs[arm.name] for row in rows]
    values = [run.value for run in runs if run.value is not None]
    return PointRuns(
        n=len(values),
        n_lost=sum(run.outcome in LOST for run in runs),
        mean=statistics.fmean(values) if values else None,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        best=max(values, key=lambda value: metric.sign * value, default=None),
        reached=tuple(
            reached(metric, arm, threshold, rows) for threshold in spec.confirm.thresholds
        )
        if values
        else (),
    )


def summary(
    spec: StudySpec,
    metric: Metric,
    arm: Arm,
    choice: Choice | None,
    rows: Sequence[SeedRow],
    trials: Sequence[Trial],
) -> ArmSummary:
    """Return one side of the comparison in numbers."""
    reruns = _of(trials, "rerun", arm.name)
    chosen = choice.trial if choice else None
    search_value = finite(chosen.value) if chosen and outcome(chosen) == "complete" else None
    rerun_mean = choice.rerun_mean if choice else None
    setting = chosen.params if chosen else None if spec.search else spec.own_values(arm.name)
    values = [value for row in rows if (value := row.runs[arm.name].value) is not None]
    return ArmSummary(
        name=arm.name,
        technique=arm.technique,
        setting=None if setting is None else dict(setting),
        chosen_number=chosen.number if chosen else None,
        chosen_value=search_value if rerun_mean is None else rerun_mean,
        search_value=search_value,
        search=_tally(spec.n_searched(arm.name), _of(trials, "search", arm.name)),
        rerun=_tally(len(reruns) or spec.n_rerun(arm.name), reruns),
        confirm=_tally(spec.n_pairs, _of(trials, "confirm", arm.name)),
        mean=statistics.fmean(values) if values else None,
        median=statistics.median(values) if values else None,
        lowest=min(values, default=None),
        highest=max(values, default=None),
        reached=tuple(
            reached(metric, arm, threshold, rows) for threshold in spec.confirm.thresholds
        )
        if values
        else (),
    )


def reached(metric: Metric, arm: Arm, threshold: float, rows: Sequence[SeedRow]) -> Reached:
    """Return how many of an arm's confirm runs are at least as good as the threshold, of at least
    one that has a value.
    """
    runs = [run for row in rows if (run := row.runs[arm.name]).value is not None]
    n_reached = sum(run.reaches(threshold, metric.sign) for run in runs)
    interval = share_interval(n_reached / len(runs), len(runs), level=1 - ALPHA)
    return Reached(threshold=threshold, n_reached=n_reached, n=len(runs), interval=interval)


def _of(trials: Sequence[Trial], phase: Phase, arm: str) -> list[Trial]:
    return sorted((t for t in trials if t.phase == phase and t.arm == arm), key=lambda t: t.number)


def _tally(n_declared: int, trials: Sequence[Trial]) -> Tally:
    counts = [outcome(trial) for trial in trials]
    return Tally(
        n_declared=n_declared,
        n_complete=counts.count("complete"),
        n_diverged=counts.count("diverged"),
        n_pruned=counts.count("pruned"),
        n_failed=counts.count("failed"),
        device_seconds=sum(trial.device_seconds for trial in trials),
    )
