"""How each trial counts, and which setting of each arm is confirmed."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradnoise_service.compare.facts.base import LOST, Outcome
from gradnoise_service.compare.racing import FEWEST_SEEDS, RACE_ALPHA, survivors
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.spec import Judge, Phase
from gradnoise_service.domain.study import Metric, Trial


@dataclass(frozen=True, kw_only=True)
class Reruns:
    """The finalists that are rerun on the first `n_seeds` seeds of their search, by rank.

    `means` are those over these seeds, None while they have not all ended.
    """

    ranks: tuple[int, ...]
    n_seeds: int
    means: tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The search trial whose setting is confirmed.

    `rerun_mean` is the setting's mean over its reruns, None before all of them have ended.
    """

    trial: Trial
    rerun_mean: float | None


def choices(
    design: Design, metric: Metric, trials: Sequence[Trial], repeat: int = 0
) -> dict[str, Choice | None]:
    """Return the choice of each arm in a search; None for an arm without a setting.

    Once all reruns have ended it is the finalist with the best mean over them, of those that a race
    did not drop; before that, and without reruns, the best on validation.
    """
    return {
        arm: _choice(metric, best, reruns(design, metric, trials, best)) if best else None
        for arm, best in finalists(design, metric, trials, repeat).items()
    }


def finalists(
    design: Design, metric: Metric, trials: Sequence[Trial], repeat: int = 0
) -> dict[str, list[Trial]]:
    """Return each arm's best trials of a search, at most `design.n_finalists`.

    Their settings differ. They are ordered by their value on validation, the best first, then by
    their number. A diverged trial is taken only if no trial of the arm's search is complete; an arm
    without ended trials has no finalists.
    """
    of_search = [trial for trial in trials if trial.phase == "search"]
    return {
        arm.name: _best(
            design,
            metric,
            [
                trial
                for trial in of_search
                if trial.arm == arm.name and _repeat(design, trial) == repeat
            ],
        )
        for arm in design.spec.arms
    }


def reruns(
    design: Design, metric: Metric, trials: Sequence[Trial], best: Sequence[Trial]
) -> Reruns:
    """Return how far the reruns of a search's finalists are, in the order of the finalists.

    Every finalist has its reruns on all seeds, unless they race: then each runs on 2 seeds, and
    after every seed those that are clearly behind are dropped (`racing.survivors`, each time with
    RACE_ALPHA divided by the number of times). The result follows from the reruns of this search,
    in any order, and does not depend on the progress of others. A lost rerun counts as in
    `as_counted`, over these reruns on these seeds. The value of the search is left out: it was
    selected for being the best, so it is biased upwards (winner's curse).
    """
    n_all, ranks = design.n_rerun_seeds, list(range(len(best)))
    if not best or n_all == 0:
        return Reruns(ranks=(), n_seeds=0, means=None)
    search = design.spec.search
    is_race = search is not None and search.rerun.race
    for n_seeds in range(FEWEST_SEEDS if is_race else n_all, n_all + 1):
        values = _rerun_values(design, metric, trials, best, n_seeds)
        if any(len(values[rank]) < n_seeds for rank in ranks):
            return Reruns(ranks=tuple(ranks), n_seeds=n_seeds, means=None)
        # sorted: the order of the trials must not change the last digit
        means = {rank: statistics.fmean(sorted(values[rank].values())) for rank in ranks}
        if n_seeds < n_all:
            gains = [[metric.sign * values[r][seed] for seed in range(n_seeds)] for r in ranks]
            alpha = RACE_ALPHA / (n_all - FEWEST_SEEDS)
            ranks = [ranks[i] for i in survivors(gains, alpha=alpha)]
        if len(ranks) == 1:
            break
    return Reruns(ranks=tuple(ranks), n_seeds=n_seeds, means=tuple(means[rank] for rank in ranks))


def as_counted(design: Design, metric: Metric, trials: Sequence[Trial], phase: Phase) -> Metric:
    """Return the metric with `worst` set to the value that a lost trial of a phase counts as.

    It is the declared worst value, unless a trial of the phase, of any arm, measured a worse one.
    Then it is worse than the worst measured value by the smallest difference that matters.
    """
    judge = design.spec.judge
    values = (measured_value(trial, judge) for trial in trials if trial.phase == phase)
    worst = min((metric.sign * value for value in values if value is not None), default=math.inf)
    if worst >= metric.sign * metric.worst:
        return metric
    return replace(metric, worst=metric.sign * (worst - design.spec.smallest_difference))


def outcome(trial: Trial, judge: Judge = "last_epoch") -> Outcome:
    """Return how a trial counts; a complete trial without a finite value has diverged.

    Where the best epoch on validation is judged, a trial that diverged after its first epoch is
    complete: it has the value of its best epoch.
    """
    if trial.state == "complete":
        has_value = not trial.diverged or diverged_later(trial, judge)
        return "complete" if has_value and finite(trial.value) is not None else "diverged"
    return "open" if trial.state == "waiting" or trial.state == "running" else trial.state


def diverged_later(trial: Trial, judge: Judge) -> bool:
    """Return whether a trial diverged after the epoch whose value counts."""
    return judge == "best_validation_epoch" and trial.diverged and trial.epochs > 0


def measured_value(trial: Trial, judge: Judge = "last_epoch") -> float | None:
    """Return the finite value that a trial measured, if any; a lost trial has none."""
    return finite(trial.value) if outcome(trial, judge) in ("complete", "pruned") else None


def counted_value(metric: Metric, trial: Trial, judge: Judge = "last_epoch") -> float | None:
    """Return the value that a trial counts as: the worst of a metric `as_counted` if it is lost."""
    return metric.worst if outcome(trial, judge) in LOST else measured_value(trial, judge)


def finite(value: float | None) -> float | None:
    """Return a value if arithmetic on it is safe, else None.

    Squares of values beyond 1e100 overflow, and no loss that has not diverged is so large.
    """
    return value if value is not None and math.isfinite(value) and abs(value) < 1e100 else None


def _repeat(design: Design, trial: Trial) -> int:
    return design.place(trial.phase, trial.arm, trial.number)[0]


def _rerun_values(
    design: Design, metric: Metric, trials: Sequence[Trial], best: Sequence[Trial], n_seeds: int
) -> dict[int, dict[int, float]]:
    """Return the values of each finalist's reruns on the first seeds, by rank and seed."""
    values: dict[int, dict[int, float]] = {rank: {} for rank in range(len(best))}
    judge, n_all = design.spec.judge, design.n_rerun_seeds
    search = best[0].arm, _repeat(design, best[0])
    of_search = [
        (trial, design.place("rerun", trial.arm, trial.number)[1])
        for trial in trials
        if trial.phase == "rerun" and (trial.arm, _repeat(design, trial)) == search
    ]
    so_far = [(trial, position) for trial, position in of_search if position % n_all < n_seeds]
    counted = as_counted(design, metric, [trial for trial, _ in so_far], "rerun")
    for trial, position in so_far:
        value = counted_value(counted, trial, judge)
        if value is not None and outcome(trial, judge) != "pruned":
            values.setdefault(position // n_all, {})[position % n_all] = value
    return values


def _choice(metric: Metric, best: Sequence[Trial], found: Reruns) -> Choice:
    if found.means is None:
        return Choice(trial=best[0], rerun_mean=None)
    mean, rank = min(zip((-metric.sign * mean for mean in found.means), found.ranks, strict=True))
    return Choice(trial=best[rank], rerun_mean=-metric.sign * mean)


def _best(design: Design, metric: Metric, trials: Sequence[Trial]) -> list[Trial]:
    n, judge = design.n_finalists, design.spec.judge
    complete = [trial for trial in trials if outcome(trial, judge) == "complete"]
    by_value = sorted(complete, key=lambda t: (-metric.sign * (t.value or 0.0), t.number))
    different: dict[str, Trial] = {}
    for trial in by_value:
        different.setdefault(_setting(trial.params or {}), trial)
    if different:
        return list(different.values())[:n]
    diverged = [trial for trial in trials if outcome(trial, judge) == "diverged"]
    return sorted(diverged, key=lambda trial: trial.number)[: min(1, n)]


def _setting(params: Mapping[str, Value]) -> str:
    return json.dumps(dict(params), sort_keys=True)
