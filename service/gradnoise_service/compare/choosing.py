"""How each trial counts, and which setting of each arm is confirmed."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradnoise_service.compare.facts.base import LOST, Outcome
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.spec import Judge, Phase
from gradnoise_service.domain.study import Metric, Trial


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

    Once all reruns have ended it is the finalist with the best mean over them; before that, and
    without reruns, the best on validation.
    """
    return {
        arm: _choice(metric, best, rerun_means(design, metric, trials, best)) if best else None
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


def rerun_means(
    design: Design, metric: Metric, trials: Sequence[Trial], best: Sequence[Trial]
) -> list[float | None]:
    """Return the mean of each finalist of a search over its reruns on validation, in their order.

    A lost rerun counts as in `as_counted`; a finalist whose reruns have not all ended has
    None. The value of the search is left out: it was selected for being the best, so it is biased
    upwards (winner's curse).
    """
    n_seeds = design.n_rerun_seeds
    if n_seeds == 0 or not best:
        return [None] * len(best)
    arm, repeat = best[0].arm, _repeat(design, best[0])
    counted, judge = as_counted(design, metric, trials, "rerun"), design.spec.judge
    values: dict[int, list[float]] = {}
    for trial in trials:
        if trial.phase == "rerun" and trial.arm == arm:
            of_repeat, position = design.place("rerun", arm, trial.number)
            value = counted_value(counted, trial, judge)
            if of_repeat == repeat and value is not None and outcome(trial, judge) != "pruned":
                values.setdefault(position // n_seeds, []).append(value)
    # sorted: the order of the trials must not change the last digit
    runs = [sorted(values.get(rank, [])) for rank in range(len(best))]
    return [statistics.fmean(reruns) if len(reruns) == n_seeds else None for reruns in runs]


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


def _choice(metric: Metric, best: Sequence[Trial], means: Sequence[float | None]) -> Choice:
    complete = [(-metric.sign * mean, rank) for rank, mean in enumerate(means) if mean is not None]
    rank = min(complete)[1] if complete and len(complete) == len(best) else 0
    return Choice(trial=best[rank], rerun_mean=means[rank])


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
