"""The curves that pages draw: values of search trials, and thinned measurements of some trials."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.study import Direction, Trial
from gradnoise_service.store.attempts import trial_of
from gradnoise_service.store.tables import MeasurementRow, TrialRow

Points = Sequence[tuple[int, float]]
"""Epochs, or numbers of trials, with values."""


def search_values(session: Session, study_id: int) -> Mapping[str, Points]:
    """Return the number and the value of each complete search trial of each arm, by number.

    Trials that diverged have none.
    """
    query = (
        select(TrialRow.arm, TrialRow.number, TrialRow.value)
        .where(TrialRow.study_id == study_id, TrialRow.phase == "search")
        .where(TrialRow.state == "complete", TrialRow.diverged.is_(False))
        .order_by(TrialRow.number)
    )
    found: dict[str, list[tuple[int, float]]] = {}
    for arm, number, value in session.execute(query):
        if value is not None:
            found.setdefault(arm, []).append((number, value))
    return found


def shown_trials(
    session: Session, study_id: int, arms: Sequence[str], direction: Direction, n_running: int
) -> list[Trial]:
    """Return the best ended search trial of each arm, and up to `n_running` that run of each."""
    best = TrialRow.value.desc() if direction == "maximize" else TrialRow.value.asc()
    found: list[Trial] = []
    for arm in arms:
        of_arm = select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.arm == arm)
        ended = of_arm.where(
            TrialRow.phase == "search",
            TrialRow.state == "complete",
            TrialRow.diverged.is_(False),
            TrialRow.value.is_not(None),
        )
        running = of_arm.where(TrialRow.state == "running").order_by(TrialRow.id.desc())
        for query in (ended.order_by(best, TrialRow.id).limit(1), running.limit(n_running)):
            found += map(trial_of, session.scalars(query))
    return found


def of_trials(
    session: Session, trial_ids: Sequence[int], name: str, most_points: int
) -> Mapping[int, Points]:
    """Return the course of a value in each of the trials, by trial, at most about so many points.

    The epochs are evenly spaced, and include each trial's first and last. Values that were not
    finite are left out.
    """
    if not trial_ids:
        return {}
    of_these = TrialRow.id.in_(trial_ids)
    apart = -(
        -(session.scalar(select(func.max(TrialRow.epochs)).where(of_these)) or 1) // most_points
    )
    row = MeasurementRow
    query = (
        select(row.trial_id, row.epoch, row.values[name].as_float())
        .join(TrialRow, TrialRow.id == row.trial_id)
        .where(row.trial_id.in_(trial_ids))
        .where(or_(row.epoch % apart == 0, row.epoch == 1, row.epoch == TrialRow.epochs))
        .order_by(row.trial_id, row.epoch)
    )
    found: dict[int, list[tuple[int, float]]] = {}
    for trial_id, epoch, value in session.execute(query):
        if value is not None:
            found.setdefault(trial_id, []).append((epoch, value))
    return found
