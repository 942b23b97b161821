"""Trials and their attempts: declare, start, end. A trial that has ended is never written again.

An attempt's lease token stands on its trial while it runs; every write names it, so a late word of
an earlier attempt finds no row.
"""

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.spec import Phase, StudySpec, Value
from gradnoise_service.domain.study import STUDY_ENDED, Trial, TrialState
from gradnoise_service.store.tables import AttemptRow, Base, MeasurementRow, StudyRow, TrialRow

COUNTED_OUTCOMES = ("failed", "worker_lost")
"""Attempts that count towards `max_attempts`; one that was orphaned by its dispatcher's end says
nothing about the trial.
"""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A trial that waits to run, with what earlier attempts have settled; `n_measured` is how many
    epochs they were heard of for.
    """

    trial: Trial
    optuna_number: int | None
    n_counted: int
    n_measured: int


def declare(
    session: Session,
    study_id: int,
    spec: StudySpec,
    phase: Phase,
    params: Mapping[str, Sequence[Mapping[str, Value]]] | None = None,
) -> None:
    """Insert those of the phase's trials that are not there yet, as waiting; all at once, so that
    none can be lost or counted twice.

    Args:
        params: Fixed settings by arm: several for the rerun phase, one for the confirm phase, or
            all of a study without a search; arms without an entry get no trials. Reruns are
            numbered setting by setting, confirm trials seed by seed, so that more seeds are
            numbered on.
    """
    there = select(TrialRow.arm, TrialRow.number).where(
        TrialRow.study_id == study_id, TrialRow.phase == phase
    )
    known = {(arm, number) for arm, number in session.execute(there)}
    n_seeds = {"rerun": spec.rerun.n_seeds, "confirm": spec.confirm.n_seeds}
    settings: Mapping[str, Sequence[Mapping[str, Value] | None]] = (
        params if params is not None else {arm.name: [None] for arm in spec.arms}
    )
    declared = [
        (number, arm.name, setting)
        for arm in spec.arms
        for n in (n_seeds.get(phase, spec.n_searched(arm.name)),)
        for own in (settings.get(arm.name, ()),)
        for k, setting in enumerate(own)
        for i in range(n)
        for number in (k * n + i if phase == "rerun" else i * len(own) + k,)
        if (arm.name, number) not in known
    ]
    rows = [
        {
            "study_id": study_id,
            "phase": phase,
            "arm": arm,
            "number": number,
            "seed": spec.trial_seed(phase, number),
            "budget_epochs": spec.confirm_epochs if phase == "confirm" else spec.epochs,
            "state": "waiting",
            "params": None if setting is None else dict(setting),
            "diverged": False,
            "epochs": 0,
            "n_attempts": 0,
            "device_seconds": 0.0,
        }
        # the arms side by side
        for number, arm, setting in sorted(declared, key=lambda one: one[0])
    ]
    if rows:
        session.execute(insert(TrialRow), rows)


def openings(session: Session, study_id: int, phase: Phase) -> list[Opening]:
    """Return the phase's waiting trials in the order in which they should run: by number, the arms
    side by side.
    """
    counted = (
        select(func.count())
        .where(AttemptRow.trial_id == TrialRow.id, AttemptRow.outcome.in_(COUNTED_OUTCOMES))
        .correlate(TrialRow)
        .scalar_subquery()
    )
    measured = (
        select(func.count())
        .where(MeasurementRow.trial_id == TrialRow.id)
        .correlate(TrialRow)
        .scalar_subquery()
    )
    waiting = (TrialRow.study_id == study_id, TrialRow.phase == phase, TrialRow.state == "waiting")
    query = (
        select(TrialRow, counted, measured).where(*waiting).order_by(TrialRow.number, TrialRow.id)
    )
    return [
        Opening(
            trial=_trial(row),
            optuna_number=row.optuna_number,
            n_counted=n_counted,
            n_measured=n_measured,
        )
        for row, n_counted, n_measured in session.execute(query)
    ]


def start(
    session: Session, trial_id: int, params: Mapping[str, Value], optuna_number: int, now: datetime
) -> str:
    """Open a new attempt of a waiting trial and return its lease token.

    Raises:
        LeaseLostError: If the trial does not wait.
    """
    token = secrets.token_hex(16)
    statement = update(TrialRow).where(TrialRow.id == trial_id, TrialRow.state == "waiting")
    started = statement.values(
        state="running",
        params=dict(params),
        optuna_number=optuna_number,
        n_attempts=TrialRow.n_attempts + 1,
        epochs=0,
        lease_token=token,
        started_at=func.coalesce(TrialRow.started_at, now),
    )
    number = session.execute(
        started.returning(TrialRow.n_attempts).execution_options(synchronize_session=False)
    ).scalar_one_or_none()
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
    session.execute(insert(AttemptRow), [attempt])
    return token


def spend(session: Session, spent: Mapping[str, tuple[int, float]]) -> None:
    """Note the epoch that running attempts have reached, by token, and add the seconds of device
    time; two statements, however many.

    Raises:
        LeaseLostError: If an attempt no longer runs.
    """
    if not spent:
        return
    rows = [
        {"token": token, "reached": epochs, "seconds": seconds}
        for token, (epochs, seconds) in spent.items()
    ]
    trial, attempt = (Base.metadata.tables[row.__tablename__] for row in (TrialRow, AttemptRow))
    reached = update(trial).where(trial.c.lease_token == bindparam("token"))
    reached = reached.values(
        epochs=bindparam("reached"), device_seconds=trial.c.device_seconds + bindparam("seconds")
    )
    if session.connection().execute(reached, rows).rowcount != len(rows):
        raise LeaseLostError("An attempt no longer runs.")
    cost = update(attempt).where(attempt.c.lease_token == bindparam("token"))
    session.connection().execute(
        cost.values(device_seconds=attempt.c.device_seconds + bindparam("seconds")), rows
    )


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
    """End a running trial for good.

    Raises:
        LeaseLostError: If the token's attempt no longer runs.
    """
    _leave(
        session,
        token,
        state,
        now,
        error,
        {"state": state, "value": value, "diverged": diverged, "error": error, "finished_at": now},
    )


def retry(session: Session, token: str, outcome: str, now: datetime, error: str) -> None:
    """End an attempt that failed and let its trial wait for the next one, with the same seed and
    parameters.

    Raises:
        LeaseLostError: If the token's attempt no longer runs.
    """
    _leave(session, token, outcome, now, error, {"state": "waiting", "error": error, "epochs": 0})


def return_to_waiting(session: Session, study_id: int, now: datetime) -> None:
    """Orphan the study's running attempts: nobody is left who could hear of them."""
    running = select(TrialRow.lease_token).where(
        TrialRow.study_id == study_id, TrialRow.state == "running"
    )
    orphaned = (
        update(AttemptRow)
        .where(AttemptRow.lease_token.in_(running))
        .values(outcome="orphaned", finished_at=now)
    )
    session.execute(orphaned, execution_options={"synchronize_session": False})
    waiting = update(TrialRow).where(TrialRow.study_id == study_id, TrialRow.state == "running")
    session.execute(
        waiting.values(state="waiting", lease_token=None, epochs=0),
        execution_options={"synchronize_session": False},
    )


def cancel_open(session: Session, study_id: int, now: datetime) -> None:
    """End what is still open of a study that has ended; nothing of one that was extended meanwhile."""
    has_ended = (
        select(StudyRow.id)
        .where(StudyRow.id == study_id, StudyRow.state.in_(STUDY_ENDED))
        .with_for_update()
    )
    if session.scalar(has_ended) is None:
        return
    return_to_waiting(session, study_id, now)
    waiting = update(TrialRow).where(TrialRow.study_id == study_id, TrialRow.state == "waiting")
    session.execute(
        waiting.values(state="cancelled", finished_at=now),
        execution_options={"synchronize_session": False},
    )


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
    """Return up to `limit` trials with an id above `after`, in the order of their ids."""
    query = (
        select(TrialRow)
        .where(TrialRow.study_id == study_id, TrialRow.id > after)
        .order_by(TrialRow.id)
        .limit(limit)
    )
    for column, wanted in ((TrialRow.arm, arm), (TrialRow.phase, phase), (TrialRow.state, state)):
        if wanted is not None:
            query = query.where(column == wanted)
    return _trials(session, query)


def table(session: Session, study_id: int, phase: Phase | None = None) -> list[Trial]:
    """Return all of a study's trials, of one phase or all, by phase (search, rerun, confirm), arm
    and number.
    """
    query = select(TrialRow).where(TrialRow.study_id == study_id)
    if phase is not None:
        query = query.where(TrialRow.phase == phase)
    return _trials(session, query.order_by(TrialRow.phase.desc(), TrialRow.arm, TrialRow.number))


def latest(session: Session, study_id: int, limit: int) -> list[Trial]:
    """Return up to `limit` trials, the running ones first, then those that ended last."""
    query = select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.started_at.is_not(None))
    return _trials(
        session,
        query.order_by(
            TrialRow.state != "running",
            TrialRow.finished_at.desc().nulls_last(),
            TrialRow.id.desc(),
        ).limit(limit),
    )


def optuna_numbers(session: Session, study_id: int) -> dict[int, int]:
    """Return the number in Optuna of each of the study's trials that has one, by trial id."""
    query = select(TrialRow.id, TrialRow.optuna_number).where(
        TrialRow.study_id == study_id, TrialRow.optuna_number.is_not(None)
    )
    return {trial_id: number for trial_id, number in session.execute(query) if number is not None}


def _leave(
    session: Session,
    token: str,
    outcome: str,
    now: datetime,
    error: str | None,
    values: Mapping[str, object],
) -> None:
    left = (
        update(TrialRow)
        .where(TrialRow.lease_token == token, TrialRow.state == "running")
        .values(lease_token=None, **values)
    )
    if (
        session.execute(
            left.returning(TrialRow.id).execution_options(synchronize_session=False)
        ).first()
        is None
    ):
        raise LeaseLostError(f"The attempt {token} no longer runs.")
    attempt = (
        update(AttemptRow)
        .where(AttemptRow.lease_token == token)
        .values(outcome=outcome, error=error, finished_at=now)
    )
    session.execute(attempt, execution_options={"synchronize_session": False})


def _trials(session: Session, query: Select[TrialRow]) -> list[Trial]:
    return [_trial(row) for row in session.scalars(query)]


def _trial(row: TrialRow) -> Trial:
    return Trial(**{field.name: getattr(row, field.name) for field in dataclasses.fields(Trial)})
