"""Trials: declare, read, cancel. A trial that has ended is never written again."""

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.planned_trial import PlannedTrial
from gradnoise_service.domain.progress import TrialCounts
from gradnoise_service.domain.spec import Judge, Phase
from gradnoise_service.domain.study import (
    STUDY_ENDED,
    TRIAL_ENDED,
    Direction,
    Study,
    Trial,
    TrialState,
)
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.store import attempts
from gradnoise_service.store.attempts import trial_of
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import TRIAL, StudyRow, TrialRow, is_any


def declare(session: Session, study_id: int, planned: Iterable[PlannedTrial]) -> None:
    """Insert the planned trials that are not stored yet, as waiting, in a single statement."""
    stored = select(TrialRow.phase, TrialRow.arm, TrialRow.number)
    cells = session.execute(stored.where(TrialRow.study_id == study_id))
    known = {(phase, arm, number) for phase, arm, number in cells}
    rows = [
        {
            "study_id": study_id,
            "phase": trial.phase,
            "arm": trial.arm,
            "number": trial.number,
            "seed": trial.seed,
            "budget_epochs": trial.budget_epochs,
            "state": "waiting",
            "params": None if trial.params is None else dict(trial.params),
            "diverged": False,
            "epochs": 0,
            "n_attempts": 0,
            "n_excused": 0,
            "device_seconds": 0.0,
        }
        for trial in planned
        if (trial.phase, trial.arm, trial.number) not in known
    ]
    if rows:
        session.execute(insert(TrialRow), rows)


def cancel_open(session: Session, study_id: int, now: datetime) -> None:
    """Cancel the open trials of an ended study; skips a study that was extended since."""
    has_ended = (
        select(StudyRow.id)
        .where(StudyRow.id == study_id, StudyRow.state.in_(STUDY_ENDED))
        .with_for_update()
    )
    if session.scalar(has_ended) is None:
        return
    attempts.orphan_running(session, study_id, now)
    waiting = update(TrialRow).where(TrialRow.study_id == study_id, TrialRow.state == "waiting")
    session.execute(
        waiting.values(state="cancelled", finished_at=now),
        execution_options={"synchronize_session": False},
    )


def extensible(session: Session, study_id: int) -> Mapping[int, Trial]:
    """Return the confirm runs of a complete study that can be trained on, by id; else none."""
    query = (
        select(TrialRow)
        .join(StudyRow, StudyRow.id == TrialRow.study_id)
        .where(StudyRow.id == study_id, StudyRow.state == "complete")
        .where(TrialRow.phase == "confirm", TrialRow.state == "complete", ~TrialRow.diverged)
    )
    return {trial.id: trial for trial in _trials(session, query)}


def reopen(session: Session, study_id: int, trial_ids: Collection[int], budget_epochs: int) -> None:
    """Let confirm runs wait again, with a larger budget; all are recorded anew in Optuna."""
    runs = update(TrialRow).where(TrialRow.study_id == study_id, TrialRow.phase == "confirm")
    values = {"state": "waiting", "budget_epochs": budget_epochs, "value": None}
    for statement in (
        runs.values(optuna_number=None),
        runs.where(TrialRow.id.in_(trial_ids)).values(finished_at=None, **values),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def remove_unstarted(session: Session, study_id: int) -> None:
    """Remove the trials of a study that have not started."""
    unstarted = (TrialRow.study_id == study_id, TrialRow.state == "waiting")
    session.execute(
        delete(TrialRow).where(*unstarted, TrialRow.n_attempts == 0),
        execution_options={"synchronize_session": False},
    )


def reopen_failed(session: Session, study_id: int, *, is_cancelled_too: bool) -> int:
    """Let the failed trials of each arm's last phase wait again; return how many there were.

    Their earlier attempts no longer count towards `max_attempts`. They keep seed and setting.

    Args:
        session: The transaction.
        study_id: The study, which has ended.
        is_cancelled_too: Whether cancelled trials wait again too: those that the failure of the
            study left open. They are not counted.
    """
    of_study = TrialRow.study_id == study_id
    cells = session.execute(select(TrialRow.arm, TrialRow.phase).where(of_study).distinct())
    in_order = sorted(cells, key=lambda cell: get_args(Phase).index(cell.phase))
    last = {cell.arm: cell.phase for cell in in_order}
    of_last = (and_(TrialRow.arm == arm, TrialRow.phase == phase) for arm, phase in last.items())
    waiting = {"state": "waiting", "value": None, "diverged": False, "finished_at": None}
    retried = (
        update(TrialRow)
        .where(of_study, TrialRow.state == "failed", or_(false(), *of_last))
        .values(**waiting, n_excused=TrialRow.n_attempts)
        .returning(TrialRow.id)
        .execution_options(synchronize_session=False)
    )
    n_trials = len(session.execute(retried).all())
    if is_cancelled_too:
        left = update(TrialRow).where(of_study, TrialRow.state == "cancelled").values(**waiting)
        session.execute(left, execution_options={"synchronize_session": False})
    return n_trials


def get(session: Session, study_id: int, trial_id: int) -> Trial:
    """Return a trial of a study.

    Raises:
        NotFoundError: If the study has no such trial.
    """
    row = session.get(TrialRow, trial_id)
    if row is None or row.study_id != study_id:
        raise NotFoundError(f"Study {study_id} has no trial {trial_id}.")
    return trial_of(row)


def page(
    session: Session,
    study_id: int,
    *,
    after: int = 0,
    limit: int,
    arm: str | None = None,
    phase: Phase | None = None,
    state: TrialState | None = None,
) -> list[Trial]:
    """Return up to `limit` trials with an id above `after`, by id."""
    query = (
        select(TrialRow)
        .where(TrialRow.study_id == study_id, TrialRow.id > after)
        .order_by(TrialRow.id)
        .limit(limit)
    )
    for column, value in ((TrialRow.arm, arm), (TrialRow.phase, phase), (TrialRow.state, state)):
        if value is not None:
            query = query.where(column == value)
    return _trials(session, query)


def of_study(session: Session, study_id: int) -> list[Trial]:
    """Return all trials of a study by phase (search, rerun, confirm), arm and number."""
    query = select(TrialRow).where(TrialRow.study_id == study_id)
    return _trials(session, query.order_by(TrialRow.phase.desc(), TrialRow.arm, TrialRow.number))


def latest(session: Session, study_id: int, limit: int) -> list[Trial]:
    """Return up to `limit` trials: the running ones, then those that ended last."""
    query = select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.started_at.is_not(None))
    by_recency = query.order_by(
        TrialRow.state != "running", TrialRow.finished_at.desc().nulls_last(), TrialRow.id.desc()
    )
    return _trials(session, by_recency.limit(limit))


def n_confirm_runs(session: Session, study_id: int) -> int:
    """Return how many confirm runs are declared for an arm; 0 before the confirm phase."""
    last = select(func.max(TrialRow.number)).where(
        TrialRow.study_id == study_id, TrialRow.phase == "confirm"
    )
    number = session.scalar(last)
    return 0 if number is None else number + 1


def optuna_numbers(session: Session, study_id: int) -> dict[int, int]:
    """Return each trial's number in its Optuna study, by trial id; trials without are left out."""
    query = select(TrialRow.id, TrialRow.optuna_number).where(
        TrialRow.study_id == study_id, TrialRow.optuna_number.is_not(None)
    )
    return {trial_id: number for trial_id, number in session.execute(query) if number is not None}


def first_errors(
    session: Transaction, study_ids: Sequence[int]
) -> Mapping[int, tuple[ArmError, ...]]:
    """Return the first error of each arm that had one, by study; first by phase and number.

    A trial that succeeded in a later attempt has none.
    """
    if not study_ids:
        return {}
    found: dict[int, tuple[ArmError, ...]] = {}
    ids = {f"study_id_{i}": study_id for i, study_id in enumerate(study_ids)}
    for row in _first_errors_query(tuple(ids)).rows(session, **ids):
        values = row._asdict()
        study_id = values.pop("study_id")
        found[study_id] = (*found.get(study_id, ()), ArmError(**values))
    return found


@functools.lru_cache(200)
def _first_errors_query(names: Sequence[str]) -> Prepared:
    by_arm = (
        select(
            func.min(TRIAL.c.id).label("id"), _count(TRIAL.c.state == "failed").label("n_failed")
        )
        .where(
            TRIAL.c.study_id.in_([bindparam(name, type_=Integer) for name in names]),
            TRIAL.c.error.is_not(None),
        )
        .group_by(TRIAL.c.study_id, TRIAL.c.arm)
        .subquery()
    )
    columns = TRIAL.c.study_id, TRIAL.c.arm, TRIAL.c.phase, TRIAL.c.number, TRIAL.c.error
    query = select(*columns, TRIAL.c.id.label("trial_id"), by_arm.c.n_failed)
    return Prepared(query.join(by_arm, by_arm.c.id == TRIAL.c.id).order_by(TRIAL.c.id))


def counts(session: Transaction, study: Study) -> list[TrialCounts]:
    """Return a study's trials by phase, arm and state."""
    query = _counts_query(study.metric.direction, study.spec.judge)
    started_at = study.started_at or study.created_at
    rows = query.rows(session, study_id=study.id, started_at=started_at)
    return [TrialCounts(**_known(row._asdict())) for row in rows]


@functools.cache
def _counts_query(direction: Direction, judge: Judge) -> Prepared:
    """Return the query of `counts`; its construction takes longer than its execution."""
    best = func.max if direction == "maximize" else func.min
    is_running = TRIAL.c.state == "running"
    ended_now = TRIAL.c.finished_at >= bindparam("started_at", type_=TRIAL.c.finished_at.type)
    query = (
        select(
            TRIAL.c.phase,
            TRIAL.c.arm,
            func.count().label("n_trials"),
            _count(is_any(TRIAL.c.state, TRIAL_ENDED)).label("n_ended"),
            _count(ended_now).label("n_ended_now"),
            _count(is_running).label("n_running"),
            _count(TRIAL.c.state == "pruned").label("n_pruned"),
            _count(TRIAL.c.state == "failed").label("n_failed"),
            _count(TRIAL.c.diverged.is_(True)).label("n_diverged"),
            best(case((_has_value(judge), TRIAL.c.value))).label("best_value"),
            func.sum(case((is_running, TRIAL.c.epochs), else_=0)).label("epochs_running"),
        )
        .where(TRIAL.c.study_id == bindparam("study_id"))
        .group_by(TRIAL.c.phase, TRIAL.c.arm)
    )
    return Prepared(query)


def _has_value(judge: Judge) -> ColumnElement[bool]:
    """Return the condition on a complete trial to have a value of its own: a lost one has none."""
    is_lost: ColumnElement[bool] = TRIAL.c.diverged.is_(True)
    if judge == "best_validation_epoch":
        is_lost &= TRIAL.c.epochs == 0
    return (TRIAL.c.state == "complete") & ~is_lost


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _trials(session: Session, query: Select[TrialRow]) -> list[Trial]:
    return [trial_of(row) for row in session.scalars(query)]
