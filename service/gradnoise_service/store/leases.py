"""Leases of studies: acquire, extend, release, finish.

Every write of a holder names the token of its lease; if no row matches, it raises LeaseLostError.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, select, update
from sqlalchemy.orm import Session

from gradnoise_service.domain.devices import CHOICES, DeviceChoice
from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.study import TRIAL_ENDED, Study
from gradnoise_service.store import attempts, counters, notices, queue, studies
from gradnoise_service.store.lease_times import is_free, times
from gradnoise_service.store.tables import STUDY, StudyRow, TrialRow

NO_HOLDER: Mapping[str, None] = {
    "lease_token": None,
    "acquired_by": None,
    "acquired_from": None,
    "acquired_until": None,
}


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to run a study; each acquisition has a new token."""

    study_id: int
    token: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is requested of the holder of a study: a pause, and so many stops so far."""

    is_pausing: bool
    n_stops: int


def acquire(
    session: Session,
    dispatcher: str,
    now: datetime,
    duration: timedelta,
    served: Collection[DeviceChoice] = CHOICES,
) -> tuple[Study, Lease] | None:
    """Acquire the study that is due and return it with its lease; None if none is due.

    The order is that of `queue.due`. A running study whose lease has expired is due again: in the
    same transaction its running trials return to waiting, with their seed and parameters.

    Args:
        session: The transaction.
        dispatcher: The id of the holder.
        now: The time.
        duration: How long the study is held.
        served: The choices of devices that the dispatcher has; studies of others are not due here.
    """
    first = queue.due(now, served).limit(1)
    due = session.scalar(first.with_for_update(skip_locked=True, of=StudyRow))
    if due is None:
        return None
    token = secrets.token_hex(16)
    acquired = (
        update(StudyRow)
        .where(StudyRow.id == due, queue.is_due(now))
        .values(
            state=case((StudyRow.state == "stopping", "stopping"), else_="running"),
            started_at=func.coalesce(StudyRow.started_at, now),
            lease_token=token,
            acquired_by=dispatcher,
            is_settled=False,
            **times(now, duration),
        )
        .returning(StudyRow.id)
        .execution_options(synchronize_session=False)
    )
    is_lost = session.scalar(select(StudyRow.lease_token).where(StudyRow.id == due)) is not None
    if session.execute(acquired).first() is None:
        return None
    if is_lost:
        counters.add(session, counters.LEASE_LOSSES)
    attempts.orphan_running(session, due, now)
    return studies.get(session, due, None), Lease(study_id=due, token=token)


def extend(session: Session, lease: Lease, now: datetime, duration: timedelta) -> Request:
    """Hold the study for another `duration` and return what is requested of its holder.

    Guards every transaction that writes for the study.

    Raises:
        LeaseLostError: If the study has another holder, or was ended.
    """
    return _write(session, lease, times(now, duration))


def check(session: Session, lease: Lease) -> Request:
    """Check the lease without writing and return what is requested of its holder.

    Raises:
        LeaseLostError: As `extend`.
    """
    held = select(StudyRow.state, StudyRow.stops).where(
        StudyRow.id == lease.study_id, StudyRow.lease_token == lease.token
    )
    return _request(session.execute(held).first())


def release(session: Session, lease: Lease, now: datetime) -> None:
    """Release an unfinished study: one that pauses is paused, any other is due again.

    Raises:
        LeaseLostError: As `extend`.
    """
    paused = case((StudyRow.state == "pausing", "paused"), else_=StudyRow.state)
    _write(session, lease, {**NO_HOLDER, "state": paused})
    attempts.orphan_running(session, lease.study_id, now)


def left_pausing(session: Session, now: datetime) -> Sequence[int]:
    """Return the ids of the studies that pause under an expired lease: their holder is gone."""
    return session.scalars(select(StudyRow.id).where(*_is_left_pausing(now))).all()


def settle_pausing(session: Session, study_id: int, now: datetime) -> None:
    """Pause a study that `left_pausing` has returned, unless its state has changed since."""
    paused = (
        update(StudyRow)
        .where(StudyRow.id == study_id, *_is_left_pausing(now))
        .values(state="paused", **NO_HOLDER)
        .returning(StudyRow.id)
        .execution_options(synchronize_session=False)
    )
    if session.execute(paused).first() is not None:
        attempts.orphan_running(session, study_id, now)


def clear(row: StudyRow) -> None:
    """Take a study from its holder, who notices at the next write."""
    for name, value in NO_HOLDER.items():
        setattr(row, name, value)


def describe(session: Session, lease: Lease, protocol: Mapping[str, Any]) -> None:
    """Store what the study runs on: versions, formula, device.

    Raises:
        LeaseLostError: As `extend`.
    """
    _write(session, lease, {"protocol": dict(protocol), "error": None})


def decide_devices(session: Session, lease: Lease, devices: DeviceChoice) -> None:
    """Store where the study's trials train, from now on.

    Raises:
        LeaseLostError: As `extend`.
    """
    _write(session, lease, {"devices": devices})


def explain(session: Session, lease: Lease, reason: str) -> None:
    """Store why the study does not go on, until it does.

    Raises:
        LeaseLostError: As `extend`.
    """
    _write(session, lease, {"error": reason})


def complete(
    session: Session, lease: Lease, now: datetime, comparison: Mapping[str, Any], verdict: str
) -> None:
    """End the study with its comparison.

    Raises:
        LeaseLostError: As `extend`.
    """
    values = {"state": "complete", "comparison": dict(comparison), "verdict": verdict}
    _end(session, lease, now, values)


def fail(session: Session, lease: Lease, now: datetime, error: str) -> None:
    """End the study without a result and store the reason.

    Raises:
        LeaseLostError: As `extend`.
    """
    _end(session, lease, now, {"state": "failed", "error": error})


def count_crash(session: Session, lease: Lease) -> int:
    """Count a fault of what drives the study; return how many there were since a trial ended.

    Raises:
        LeaseLostError: As `extend`.
    """
    is_ended = (TrialRow.study_id == lease.study_id, TrialRow.state.in_(TRIAL_ENDED))
    n_ended = session.scalar(select(func.count()).where(*is_ended)) or 0
    is_first = StudyRow.n_ended_at_crash < n_ended
    n_crashes = case((is_first, 1), else_=StudyRow.n_crashes + 1)
    _write(session, lease, {"n_crashes": n_crashes, "n_ended_at_crash": n_ended})
    return session.scalars(select(StudyRow.n_crashes).where(StudyRow.id == lease.study_id)).one()


def _is_left_pausing(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (StudyRow.state == "pausing", is_free(STUDY, now))


def _end(session: Session, lease: Lease, now: datetime, values: Mapping[str, Any]) -> None:
    _write(session, lease, {**values, "finished_at": now, **NO_HOLDER})
    notices.add(session, lease.study_id, now)


def _write(session: Session, lease: Lease, values: Mapping[str, Any]) -> Request:
    written = (
        update(StudyRow)
        .where(StudyRow.id == lease.study_id, StudyRow.lease_token == lease.token)
        .values(**values)
        .returning(StudyRow.state, StudyRow.stops)
        .execution_options(synchronize_session=False)
    )
    return _request(session.execute(written).first())


def _request(row: Row[Any] | None) -> Request:
    if row is None:
        raise LeaseLostError()
    return Request(is_pausing=row.state == "pausing", n_stops=len(row.stops))
