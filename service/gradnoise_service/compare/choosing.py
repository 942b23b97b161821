"""How each trial counts, and which setting of each arm goes into the confirm phase."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradnoise_service.compare.comparison import LOST, Outcome
from gradnoise_service.domain.spec import StudySpec, Value
from gradnoise_service.domain.study import Metric, Trial


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The search trial whose setting an arm goes into the confirm phase with, and its mean over the
    reruns, None while there is none.
    """

    trial: Trial
    rerun_mean: float | None


def choose(spec: StudySpec, metric: Metric, trials: Sequence[Trial]) -> dict[str, Trial | None]:
    """Return the search trial of each arm whose setting goes into the confirm phase; None for an
    arm that has none.
    """
    return {
        arm: choice.trial if choice else None
        for arm, choice in choices(spec, metric, trials).items()
    }


def choices(spec: StudySpec, metric: Metric, trials: Sequence[Trial]) -> dict[str, Choice | None]:
    """Return what each arm has chosen, None for an arm that has no setting.

    Once all reruns have ended it is the finalist with the best mean over them; before that, and
    without reruns, the best on validation.
    """
    chosen: dict[str, Choice | None] = {}
    for arm, best in finalists(spec, metric, trials).items():
        means = rerun_means(spec, metric, trials, best)
        complete = [
            (-metric.sign * mean, rank) for rank, mean in enumerate(means) if mean is not None
        ]
        rank = min(complete)[1] if complete and len(complete) == len(best) else 0
        chosen[arm] = Choice(trial=best[rank], rerun_mean=means[rank]) if best else None
    return chosen


def finalists(spec: StudySpec, metric: Metric, trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Return each arm's best search trials, at most `search.rerun.top` of different settings: the
    best on validation first, of two equals the earlier.

    A diverged trial is taken only where no other is complete; an arm of which none is has no
    finalists.
    """
    n = spec.rerun.top if spec.rerun.is_on else 1
    return {
        arm.name: _best(metric, [t for t in trials if t.phase == "search" and t.arm == arm.name], n)
        for arm in spec.arms
    }


def rerun_means(
    spec: StudySpec, metric: Metric, trials: Sequence[Trial], best: Sequence[Trial]
) -> list[float | None]:
    """Return the mean on validation of each of an arm's finalists over its reruns, in their order,
    lost ones as the metric's worst.

    A finalist whose reruns have not all ended has None. The search's own value is left out: it was
    selected for being high, so that its expectation lies above the setting's (the winner's curse);
    those of the reruns do not.
    """
    n_seeds = spec.rerun.n_seeds if spec.rerun.is_on else 0
    values: dict[int, list[float]] = {}
    for trial in trials:
        counted = outcome(trial)
        if (
            n_seeds
            and best
            and trial.phase == "rerun"
            and trial.arm == best[0].arm
            and counted in ("complete", *LOST)
        ):
            value = finite(trial.value) if counted == "complete" else None
            values.setdefault(trial.number // n_seeds, []).append(
                metric.worst if value is None else value
            )
    # sorted: the order of the trials must not reach the last digit
    runs = [sorted(values.get(rank, [])) for rank in range(len(best))]
    return [
        statistics.fmean(of_one) if n_seeds and len(of_one) == n_seeds else None for of_one in runs
    ]


def outcome(trial: Trial) -> Outcome:
    """Return how a trial counts; a complete one without a finite value has diverged."""
    if trial.state == "complete":
        return "complete" if finite(trial.value) is not None and not trial.diverged else "diverged"
    return "open" if trial.state == "waiting" or trial.state == "running" else trial.state


def finite(value: float | None) -> float | None:
    """Return a value that can be reckoned with; beyond 1e100 its squares cannot, and no loss that
    has not diverged gets there.
    """
    return value if value is not None and math.isfinite(value) and abs(value) < 1e100 else None


def _best(metric: Metric, trials: Sequence[Trial], n: int) -> list[Trial]:
    complete = [trial for trial in trials if outcome(trial) == "complete"]
    different: dict[str, Trial] = {}
    for trial in sorted(
        complete, key=lambda trial: (-metric.sign * (trial.value or 0.0), trial.number)
    ):
        different.setdefault(_setting(trial.params or {}), trial)
    if different:
        return list(different.values())[:n]
    diverged = [trial for trial in trials if outcome(trial) == "diverged"]
    return sorted(diverged, key=lambda trial: trial.number)[:1]


def _setting(params: Mapping[str, Value]) -> str:
    return json.dumps(dict(params), sort_keys=True)
