"""compare: the whole comparison of a study's trials, finished or not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradnoise_service.compare.choosing import as_counted, outcome
from gradnoise_service.compare.diagnostics import diagnose
from gradnoise_service.compare.dropping import dropped, dropped_at, is_settled
from gradnoise_service.compare.facts.comparison import Comparison, Difference, Plan, Untrained
from gradnoise_service.compare.facts.findings import (
    CodeChanged,
    Retried,
    Stopped,
    StoppedEarly,
    Waiting,
)
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.compare.search_luck import lucks, with_luck
from gradnoise_service.compare.tables import Tables, tabulate
from gradnoise_service.compare.verdict import differences
from gradnoise_service.compare.warnings import findings
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.looks import POCOCK, nominal_levels
from gradnoise_service.domain.study import EpochMean, Metric, Trial


def compare(
    design: Design,
    metric: Metric,
    trials: Sequence[Trial],
    *,
    protocol: Mapping[str, object],
    epochs: Sequence[EpochMean] = (),
) -> Comparison:
    """Return the comparison of a study's trials.

    Any trials have a comparison: none, unfinished, all failed, all tied, not finite. Equal
    arguments give equal comparisons, in any order of the trials: the study's seed determines the
    resampling. With declared looks, the declared confirm trials determine the present look.

    Args:
        design: What the study runs.
        metric: The objective.
        trials: The study's trials of all phases, in any order.
        protocol: Versions, formulas and the order of operations of what ran; stored unchanged. Its
            entry `untrained` is an `Untrained`, which the runs must exceed to have learned; its
            entry `parameters_of` has the parameters of each technique and optimizer by name.
        epochs: Means over each arm's complete confirm runs after each epoch.
    """
    stored = trials
    trials = [t for t in stored if design.counts(t.phase, t.arm, t.number)]
    here = design.at_look(_n_declared(trials))
    untrained = untrained_of(protocol)
    earlier = dropped(here, metric, trials, untrained)
    tables = tabulate(here, metric, trials, dropped_at(earlier))
    counted = as_counted(here, metric, trials, "confirm")
    judged, is_final = _judged(here, counted, tables, trials, untrained, earlier)
    searched = as_counted(here, metric, trials, "search")
    luck = lucks(here, searched, tables, trials) if is_final and here.n_repeats == 1 else {}
    judged = with_luck(judged, luck)
    diagnostics = diagnose(here, searched, tables.arms, tables.search, epochs)
    return Comparison(
        verdict=judged[0].verdict,
        is_final=is_final,
        metric=metric.name,
        direction=metric.direction,
        worst=counted.worst,
        declared_worst=None if counted is metric else metric.worst,
        split=metric.split,
        smallest_difference=here.spec.smallest_difference,
        study_seed=here.spec.seed,
        differences=judged,
        arms=tables.arms,
        seeds=tables.seeds,
        points=tables.points,
        search=tables.search,
        findings=(
            *_changed_code(protocol),
            *_retried(protocol),
            *_stopped(here, stored),
            *findings(
                here,
                metric,
                tables,
                diagnostics,
                judged,
                luck,
                protocol=protocol,
                is_final=is_final,
            ),
        ),
        protocol=protocol,
        plan=_plan(here),
        looks=here.earlier_looks,
        lengths=here.confirm_lengths if any(here.added_epochs) else (),
        false_verdict_chance=here.false_verdict_chance,
        anytime=here.is_anytime,
        pocock_level=_pocock_level(here),
        diagnostics=diagnostics,
    )


def untrained_of(protocol: Mapping[str, object]) -> Untrained | None:
    """Return the value without training, as a protocol has it; None if it was not measured."""
    found = protocol.get("untrained")
    return Untrained.model_validate(found) if found else None


def _n_declared(trials: Sequence[Trial]) -> int:
    """Return how many confirm runs are declared for an arm; 0 before the confirm phase."""
    return 1 + max((trial.number for trial in trials if trial.phase == "confirm"), default=-1)


def _judged(
    design: Design,
    metric: Metric,
    tables: Tables,
    trials: Sequence[Trial],
    untrained: Untrained | None,
    earlier: Mapping[str, Difference],
) -> tuple[tuple[Difference, ...], bool]:
    """Return the differences, and whether their verdicts are final."""
    n_cancelled = sum(outcome(trial) == "cancelled" for trial in trials)
    if not all(arm.name in earlier or _has_ended(design, arm) for arm in tables.arms):
        waiting = Waiting(n_cancelled=n_cancelled, undecided_at=_looks_before(design))
        return differences(design, metric, tables, waiting, untrained, earlier), False
    stop = design.ending_stop
    if stop is not None and (stop.phase != "confirm" or stop.n == 0):
        early = StoppedEarly(phase=stop.phase)
        return differences(design, metric, tables, early, untrained, earlier), True
    judged = differences(design, metric, tables, None, untrained, earlier)
    if design.is_last_look or _is_decided(tables, judged):
        return judged, True
    passed = (*_looks_before(design), design.n_seeds)
    waiting = Waiting(n_cancelled=n_cancelled, undecided_at=passed)
    return differences(design, metric, tables, waiting, dropped=earlier), False


def _has_ended(design: Design, arm: ArmSummary) -> bool:
    """Return whether every declared trial of an arm has ended.

    A search without a setting has no later runs.
    """
    repeats = (design.place("confirm", arm.name, i)[0] for i in range(design.n_pairs))
    n_runs = sum(arm.chosen[repeat].setting is not None for repeat in repeats)
    has_confirmed = n_runs == 0 or (
        arm.rerun.n_ended >= arm.rerun.n_declared and arm.confirm.n_ended >= n_runs
    )
    return arm.search.n_ended >= arm.search.n_declared and has_confirmed


def _is_decided(tables: Tables, judged: Sequence[Difference]) -> bool:
    """Return whether further seeds are of no use to any arm."""
    baseline, *others = tables.arms
    return not baseline.has_settings or all(map(is_settled, others, judged))


def _looks_before(design: Design) -> tuple[int, ...]:
    """Return the declared looks that did not decide; unknown after an extension."""
    if design.extended_at:
        return ()
    return tuple(n for n in design.looks if n < design.n_seeds)


def _plan(design: Design) -> Plan | None:
    if not design.is_sequential:
        return None
    return Plan(
        looks=design.looks,
        levels=design.levels,
        boundary=design.spec.confirm.boundary,
        n_seeds=design.n_seeds,
    )


def _pocock_level(design: Design) -> float | None:
    """Return the p-value that each look would have had to reach, had all looks been declared."""
    if design.is_sequential or not design.earlier_looks or any(design.added_epochs):
        return None
    looks = [*design.earlier_looks, design.n_seeds]
    levels = nominal_levels(looks, shape=POCOCK, alpha=design.alpha)
    return levels[0] * design.n_comparisons


def _stopped(design: Design, trials: Sequence[Trial]) -> Iterator[Stopped]:
    for stop in design.stops:
        if stop.phase == "rerun" or stop.n == stop.n_declared:
            continue
        beyond = [
            t
            for t in trials
            if t.phase == stop.phase
            and t.n_attempts
            and not design.counts(t.phase, t.arm, t.number)
        ]
        yield Stopped(
            phase=stop.phase, n=stop.n, n_declared=stop.n_declared, n_left_out=len(beyond)
        )


def _retried(protocol: Mapping[str, object]) -> Iterator[Retried]:
    retries = protocol.get("retries")
    found: list[Mapping[str, Any]] = list(retries) if isinstance(retries, Sequence) else []
    if n_trials := sum(retry["n_trials"] for retry in found):
        verdicts = tuple(retry["verdict"] for retry in found if retry["verdict"])
        yield Retried(n_trials=n_trials, verdicts=verdicts)


def _changed_code(protocol: Mapping[str, object]) -> Iterator[CodeChanged]:
    parts = protocol.get("changed_code")
    if isinstance(parts, Sequence) and parts:
        yield CodeChanged(parts=tuple(map(str, parts)))
