"""Use cases on the curves that pages draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradnoise_service.domain.study import Study, Trial
from gradnoise_service.store import curves
from gradnoise_service.store.curves import Points
from gradnoise_service.usecases.service import Service

N_RUNNING = 4
MOST_POINTS = 100
MOST_POINTS_OF_MANY = 24


@dataclass(frozen=True, kw_only=True)
class LiveCurves:
    """The curves of a study that runs or has run.

    Args:
        best: The best value so far against the number of ended search trials, by arm.
        courses: The objective on validation over the epochs, of the best search trial of each arm
            and of trials that run.
    """

    best: Mapping[str, Points]
    courses: Sequence[tuple[Trial, Points]]


def live(service: Service, study: Study) -> LiveCurves:
    """Return the curves of a study that the caller may see."""
    arms = [arm.name for arm in study.spec.arms]
    with service.database.session() as session:
        values = curves.search_values(session, study.id)
        shown = curves.shown_trials(session, study.id, arms, study.metric.direction, N_RUNNING)
        ids = [trial.id for trial in shown]
        courses = curves.of_trials(session, ids, f"validation_{study.metric.name}", MOST_POINTS)
    return LiveCurves(
        best={arm: best_so_far(values[arm], study.metric.sign) for arm in arms if arm in values},
        courses=[(trial, courses[trial.id]) for trial in shown if trial.id in courses],
    )


def of_many(service: Service, study: Study, trials: Sequence[Trial]) -> Mapping[int, Points]:
    """Return few points of the objective on validation of each of a study's trials, by id."""
    ids = [trial.id for trial in trials if trial.epochs]
    with service.database.session() as session:
        name = f"validation_{study.metric.name}"
        return curves.of_trials(session, ids, name, MOST_POINTS_OF_MANY)


def best_so_far(values: Points, sign: int) -> Points:
    """Return the best of the first n values, from n = 1, where it improves and at the end.

    Args:
        values: Any numbers with values.
        sign: +1 where larger is better, -1 where smaller is.

    >>> best_so_far([(0, 0.3), (1, 0.2), (4, 0.5), (5, 0.1)], 1)
    [(1, 0.3), (3, 0.5), (4, 0.5)]
    """
    found: list[tuple[int, float]] = []
    for n, (_, value) in enumerate(values, start=1):
        if not found or sign * value > sign * found[-1][1]:
            found.append((n, value))
    if found and found[-1][0] < len(values):
        found.append((len(values), found[-1][1]))
    return found
