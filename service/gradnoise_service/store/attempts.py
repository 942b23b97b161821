"""Attempts of trials: start, record cost, end.

The lease token of an attempt is stored with its trial while it runs. Every write names the token,
so a late write of an earlier attempt matches no row.
"""

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.log import AttemptRecord
from gradnoise_service.domain.planned_trial import Setting
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Trial, TrialState
from gradnoise_service.store import counters
from gradnoise_service.store.tables import ATTEMPT, TRIAL, AttemptRow, MeasurementRow, TrialRow

COUNTED_OUTCOMES = ("failed", "worker_lost")
"""Outcomes that count towards `max_attempts`; an attempt that its dispatcher orphaned does not."""
SUSPECTED_OUTCOMES = ("worker_lost", "stack_lost")
UNCOUNTED_LOSSES = ("stack_lost", "displaced")

# The statements of each trial, built once: building them costs more than executing them.
START = (
    update(TRIAL)
    .where(TRIAL.c.id == bindparam("waiting_id"), TRIAL.c.state == "waiting")
    .values(
        state="running",
        params=bindparam("params"),
        optuna_number=bindparam("optuna_number"),
        n_attempts=TRIAL.c.n_attempts + 1,
        epochs=0,
        lease_token=bindparam("lease_token"),
        started_at=func.coalesce(
            TRIAL.c.started_at, bindparam("now", type_=TRIAL.c.started_at.type)
        ),
    )
    .returning(TRIAL.c.n_attempts)
)
IS_TRIAL, IS_ATTEMPT = (each.c.lease_token == bindparam("token") for each in (TRIAL, ATTEMPT))
ADD_PROGRESS = (
    update(TRIAL)
    .where(IS_TRIAL)
    .values(
        epochs=bindparam("reached"),
        device_seconds=TRIAL.c.device_seconds + bindparam("seconds"),
    )
)
ADD_COST = (
    update(ATTEMPT)
    .where(IS_ATTEMPT)
    .values(device_seconds=ATTEMPT.c.device_seconds + bindparam("seconds"))
)
END_TRIAL, RETRY_TRIAL = (
    update(TRIAL)
    .where(IS_TRIAL, TRIAL.c.state == "running")
    .values(lease_token=None, **{name: bindparam(name) for name in names})
    .returning(TRIAL.c.id)
    for names in (
        ("state", "value", "diverged", "error", "finished_at"),
        ("state", "error", "epochs"),
    )
)
END_ATTEMPT = (
    update(ATTEMPT)
    .where(IS_ATTEMPT)
    .values({name: bindparam(name) for name in ("outcome", "error", "finished_at")})
)


@dataclass(frozen=True, kw_only=True)
class WaitingTrial:
    """A trial that waits for an attempt.

    Args:
        optuna_number: Its number in Optuna; None before the first attempt.
        n_counted: Earlier attempts that count towards `max_attempts`.
        n_suspected: Earlier attempts whose worker died while they trained.
        n_uncounted: Earlier attempts that lost their worker and do not count.
        n_measured: Epochs that earlier attempts measured.
    """

    trial: Trial
    optuna_number: int | None
    n_counted: int
    n_measured: int
    n_suspected: int = 0
    n_uncounted: int = 0


def waiting(session: Session, study_id: int, phase: Phase | None = None) -> list[WaitingTrial]:
    """Return the waiting trials of a study, or of a phase of it, in the order of declaration."""
    kinds = (COUNTED_OUTCOMES, SUSPECTED_OUTCOMES, UNCOUNTED_LOSSES)
    numbers = [
        select(func.count())
        .where(
            AttemptRow.trial_id == TrialRow.id,
            AttemptRow.outcome.in_(outcomes),
            AttemptRow.number > TrialRow.n_excused,
        )
        .correlate(TrialRow)
        .scalar_subquery()
        for outcomes in kinds
    ]
    measured = (
        select(func.count())
        .where(MeasurementRow.trial_id == TrialRow.id)
        .correlate(TrialRow)
        .scalar_subquery()
    )
    query = (
        select(TrialRow, measured, *numbers)
        .where(TrialRow.study_id == study_id, TrialRow.state == "waiting")
        .order_by(TrialRow.id)
    )
    if phase is not None:
        query = query.where(TrialRow.phase == phase)
    return [
        WaitingTrial(
            trial=trial_of(row),
            optuna_number=row.optuna_number,
            n_counted=n_counted,
            n_measured=n_measured,
            n_suspected=n_suspected,
            n_uncounted=n_uncounted,
        )
        for row, n_measured, n_counted, n_suspected, n_uncounted in session.execute(query)
    ]


def of_trial(session: Session, trial_id: int) -> list[AttemptRecord]:
    """Return a trial's attempts in order."""
    query = select(AttemptRow).where(AttemptRow.trial_id == trial_id).order_by(AttemptRow.number)
    names = [field.name for field in dataclasses.fields(AttemptRecord)]
    return [
        AttemptRecord(**{name: getattr(row, name) for name in names})
        for row in session.scalars(query)
    ]


def start(
    session: Session, trial_id: int, params: Setting, optuna_number: int, now: datetime
) -> str:
    """Open an attempt of a waiting trial and return its lease token.

    Raises:
        LeaseLostError: If the trial is not waiting.
    """
    token = secrets.token_hex(16)
    started = {
        "waiting_id": trial_id,
        "params": dict(params),
        "optuna_number": optuna_number,
        "lease_token": token,
        "now": now,
    }
    connection = session.connection()
    number = connection.execute(START, started).scalar_one_or_none()
    if number is None:
        raise LeaseLostError(f"Trial {trial_id} is not waiting.")
    attempt = {
        "lease_token": token,
        "trial_id": trial_id,
        "number": number,
        "outcome": "running",
        "device_seconds": 0.0,
        "started_at": now,
    }
    connection.execute(insert(ATTEMPT), attempt)
    return token


def add_cost(session: Session, costs: Mapping[str, tuple[int, float]]) -> None:
    """Record progress of running attempts in two statements, whatever their number.

    Args:
        costs: By token: the epoch that the attempt reached, and the device seconds to add.

    Raises:
        LeaseLostError: If an attempt no longer runs.
    """
    if not costs:
        return
    rows = [
        {"token": token, "reached": epochs, "seconds": seconds}
        for token, (epochs, seconds) in costs.items()
    ]
    connection = session.connection()
    if connection.execute(ADD_PROGRESS, rows).rowcount != len(rows):
        raise LeaseLostError("An attempt no longer runs.")
    connection.execute(ADD_COST, rows)


def end(
    session: Session,
    token: str,
    state: TrialState,
    now: datetime,
    *,
    value: float | None,
    diverged: bool = False,
    error: str | None = None,
) -> None:
    """End a running trial with a final state.

    Raises:
        LeaseLostError: If the attempt no longer runs.
    """
    final = {
        "state": state,
        "value": value,
        "diverged": diverged,
        "error": error,
        "finished_at": now,
    }
    _leave(session, token, END_TRIAL, final, state, now, error)


def cost_since(session: Session, study_id: int, since: datetime) -> tuple[float, datetime | None]:
    """Return the device seconds of a study's attempts that started since a time, and the first."""
    seconds = func.coalesce(func.sum(AttemptRow.device_seconds), 0.0)
    query = (
        select(seconds, func.min(AttemptRow.started_at))
        .join(TrialRow, TrialRow.id == AttemptRow.trial_id)
        .where(TrialRow.study_id == study_id, AttemptRow.started_at >= since)
    )
    found, first = session.execute(query).one()
    return found, first


def retry(session: Session, token: str, outcome: str, now: datetime, error: str) -> None:
    """End a failed attempt; its trial waits for the next, with the same seed and parameters.

    Raises:
        LeaseLostError: If the attempt no longer runs.
    """
    waiting = {"state": "waiting", "error": error, "epochs": 0}
    _leave(session, token, RETRY_TRIAL, waiting, outcome, now, error)
    counters.add(session, counters.ATTEMPTS + outcome)


def orphan_running(session: Session, study_id: int, now: datetime) -> None:
    """Orphan a study's running attempts, whose dispatcher is gone; their trials wait again."""
    is_running = (TrialRow.study_id == study_id, TrialRow.state == "running")
    tokens = select(TrialRow.lease_token).where(*is_running)
    orphaned = (
        update(AttemptRow)
        .where(AttemptRow.lease_token.in_(tokens))
        .values(outcome="orphaned", finished_at=now)
    )
    ended = session.execute(orphaned, execution_options={"synchronize_session": False})
    if n_orphaned := ended.rowcount:  # type: ignore[attr-defined]  # of every UPDATE
        counters.add(session, counters.ATTEMPTS + "orphaned", n_orphaned)
    waiting = update(TrialRow).where(*is_running)
    session.execute(
        waiting.values(state="waiting", lease_token=None, epochs=0),
        execution_options={"synchronize_session": False},
    )


def trial_of(row: TrialRow) -> Trial:
    """Return a row as a value of the domain."""
    return Trial(**{field.name: getattr(row, field.name) for field in dataclasses.fields(Trial)})


def _leave(
    session: Session,
    token: str,
    statement: ReturningUpdate[tuple[int]],
    values: Mapping[str, object],
    outcome: str,
    now: datetime,
    error: str | None,
) -> None:
    connection = session.connection()
    if connection.execute(statement, {"token": token, **values}).first() is None:
        raise LeaseLostError(f"The attempt {token} no longer runs.")
    ended = {"token": token, "outcome": outcome, "error": error, "finished_at": now}
    connection.execute(END_ATTEMPT, ended)
