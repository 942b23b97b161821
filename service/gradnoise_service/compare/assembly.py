"""compare: the whole comparison of a study from its trials, finished or not; at_look: the declared
look that they have come to.
"""

from collections.abc import Mapping, Sequence

from gradnoise_service.compare.cautions import held_equal, warnings
from gradnoise_service.compare.choosing import choices, outcome
from gradnoise_service.compare.comparison import ArmSummary, Comparison, Difference, Plan, SeedRow
from gradnoise_service.compare.diagnostics import cautions, diagnose
from gradnoise_service.compare.tables import grid_points, search_points, seed_rows, summary
from gradnoise_service.compare.verdict import (
    adjusted,
    earlier_looks,
    false_verdict_chance,
    judge,
    level_at,
    p_value,
)
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import EpochMean, Metric, Trial


def compare(
    spec: StudySpec,
    metric: Metric,
    trials: Sequence[Trial],
    *,
    protocol: Mapping[str, object],
    epochs: Sequence[EpochMean] = (),
    looks: Sequence[int] = (),
) -> Comparison:
    """Return what a study's trials say of its question.

    Whatever the trials are - none, unfinished, all failed, all tied, not finite - there is a
    comparison: it says what is lacking. Equal arguments give equal comparisons: the resampling is
    seeded by the study's seed.

    A study with declared looks is compared at the one that its trials have come to.

    Args:
        spec: The study; its first arm is the baseline.
        metric: The objective.
        trials: The study's trials of all phases, in any order.
        protocol: Versions, formula and orders of what ran; kept as it is.
        epochs: Means over each arm's complete confirm runs, epoch by epoch, for the courses.
        looks: The numbers of seeds at which verdicts were given before, where the study was
            extended; those that count are kept.
    """
    here = at_look(spec, metric, trials, looks)
    arms, rows = _sides(here, metric, trials)
    is_final = all(_has_ended(arm) for arm in arms)
    search = search_points(spec, metric, trials)
    diagnostics = diagnose(spec, metric, arms, search, epochs)
    looks = earlier_looks(here, looks)
    differences = _differences(
        here, metric, arms, rows, None if is_final else _waiting(here, arms, trials), looks
    )
    points, plan = grid_points(here, metric, rows), _plan(here)
    told = warnings(spec, metric, arms, rows, points, plan if is_final and not looks else None)
    return Comparison(
        verdict=differences[0].verdict,
        sentence=differences[0].sentence,
        is_final=is_final,
        metric=metric.name,
        direction=metric.direction,
        worst=metric.worst,
        smallest_difference=spec.smallest_difference,
        study_seed=spec.seed,
        differences=differences,
        arms=arms,
        seeds=rows,
        points=points,
        search=search,
        held_equal=held_equal(spec, metric, plan),
        warnings=(*told, *cautions(spec, metric, diagnostics)),
        protocol=protocol,
        plan=plan,
        looks=looks,
        false_verdict_chance=false_verdict_chance(here, looks),
        diagnostics=diagnostics,
    )


def at_look(
    spec: StudySpec, metric: Metric, trials: Sequence[Trial], looks: Sequence[int] = ()
) -> StudySpec:
    """Return the study with the confirm seeds of the declared look that its trials have come to;
    without such looks as it is.

    That is the first one that decides of every arm, or whose seeds have not all run in every arm.
    Trials beyond a look show that it did not decide. What an extension adds comes after all
    declared looks. Arguments as for `compare`.
    """
    last = max((trial.number for trial in trials if trial.phase == "confirm"), default=-1)
    for n_seeds in () if looks else spec.confirm.plan[:-1]:
        here = spec.at_seeds(n_seeds)
        if last >= here.n_pairs:
            continue
        arms, rows = _sides(here, metric, trials)
        if not all(_has_ended(arm) for arm in arms) or all(
            d.verdict != "undecided" or arms[0].setting is None or arm.setting is None
            for arm, d in zip(arms[1:], _differences(here, metric, arms, rows), strict=True)
        ):
            return here
    return spec


def _sides(
    spec: StudySpec, metric: Metric, trials: Sequence[Trial]
) -> tuple[tuple[ArmSummary, ...], tuple[SeedRow, ...]]:
    chosen = choices(spec, metric, trials)
    rows = seed_rows(spec, metric, trials)
    return tuple(
        summary(spec, metric, arm, chosen[arm.name], rows, trials) for arm in spec.arms
    ), rows


def _differences(
    spec: StudySpec,
    metric: Metric,
    arms: Sequence[ArmSummary],
    rows: Sequence[SeedRow],
    waiting: str | None = None,
    looks: Sequence[int] = (),
) -> tuple[Difference, ...]:
    """Return each further arm against the first; `waiting` says what has not ended yet, None if all
    has.
    """
    faults = {arm.name: None if waiting else _fault(arms[0], arm, rows) for arm in arms[1:]}
    comparable = {name: () if fault else rows for name, fault in faults.items()}
    p_values = adjusted(
        spec,
        {name: p for name in faults if (p := p_value(spec, comparable[name], name)) is not None},
    )
    return tuple(
        judge(
            spec,
            metric,
            comparable[name],
            name,
            p=p_values.get(name),
            lacking=waiting or fault,
            looks=looks,
        )
        for name, fault in faults.items()
    )


def _plan(spec: StudySpec) -> Plan | None:
    plan = spec.confirm.plan
    if len(plan) == 1:
        return None
    levels = tuple(level_at(spec, n_seeds) for n_seeds in plan)
    return Plan(
        looks=plan, levels=levels, boundary=spec.confirm.boundary, n_seeds=spec.confirm.n_seeds
    )


def _has_ended(arm: ArmSummary) -> bool:
    """Whether an arm has run all that it was declared; without a setting there is nothing to
    confirm.
    """
    later = () if arm.setting is None else (arm.rerun, arm.confirm)
    return all(tally.n_ended >= tally.n_declared for tally in (arm.search, *later))


def _waiting(spec: StudySpec, arms: Sequence[ArmSummary], trials: Sequence[Trial]) -> str:
    searched, confirmed = (
        sum(arm.search.n_ended for arm in arms),
        sum(arm.confirm.n_ended for arm in arms),
    )
    n_searches = sum(arm.search.n_declared for arm in arms)
    n_reruns = sum(arm.rerun.n_declared for arm in arms)
    reruns = f", {sum(arm.rerun.n_ended for arm in arms)} of {n_reruns} reruns" if n_reruns else ""
    n_cancelled = sum(outcome(trial) == "cancelled" for trial in trials)
    cancelled = (
        f"; {n_cancelled} {'trial was' if n_cancelled == 1 else 'trials were'} cancelled"
        if n_cancelled
        else ""
    )
    n_seeds, plan = spec.confirm.n_seeds, spec.confirm.plan
    passed = [n for n in plan if n < n_seeds] if n_seeds in plan else []
    undecided = (
        f"; it was undecided at the declared looks so far, at {' and '.join(map(str, passed))} "
        "seeds"
        if passed
        else ""
    )
    before = f"{searched} of {n_searches} search trials{reruns} and " if spec.search else ""
    return (
        f"it is given once every declared trial has ended, and {before}"
        f"{confirmed} of {len(arms) * spec.n_pairs} confirm runs have{cancelled}{undecided}"
    )


def _fault(baseline: ArmSummary, arm: ArmSummary, rows: Sequence[SeedRow]) -> str | None:
    """Return why an arm that has ended cannot be compared with the baseline, None if it can."""
    for side in (baseline, arm):
        if side.setting is None:
            return (
                f"no search trial of {side.name} could be completed, so it has no setting to "
                "confirm"
            )
        if side.confirm.n_failed == side.confirm.n_declared:
            return f"every confirm run of {side.name} failed with an error"
    if not any(
        row.runs[side.name].outcome == "complete" for row in rows for side in (baseline, arm)
    ):
        return f"every confirm run of {baseline.name} and of {arm.name} was lost"
    return None
