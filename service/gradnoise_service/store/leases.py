"""Leases of studies: acquire, extend, release, finish.

Every write of a holder names the token of its lease; if no row matches, it raises LeaseLostError.
"""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from gradnoise_service.domain.devices import CHOICES, DeviceChoice
from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.study import Study
from gradnoise_service.store import attempts, queue, studies
from gradnoise_service.store.tables import StudyRow

NO_HOLDER: Mapping[str, None] = {
    "lease_token": None,
    "acquired_by": None,
    "acquired_until": None,
}


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to run a study; each acquisition has a new token."""

    study_id: int
    token: str


def acquire(
    session: Session,
    dispatcher: str,
    now: datetime,
    duration: timedelta,
    served: Collection[DeviceChoice] = CHOICES,
) -> tuple[Study, Lease] | None:
    """Acquire the study that is due and return it with its lease; None if none is due.

    The order is by priority, then by the owner with the fewest held studies, then by age. A running
    study whose lease has expired is due again: in the same transaction its running trials return to
    waiting, with their seed and parameters.

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
            state="running",
            started_at=func.coalesce(StudyRow.started_at, now),
            lease_token=token,
            acquired_by=dispatcher,
            acquired_until=now + duration,
        )
        .returning(StudyRow.id)
        .execution_options(synchronize_session=False)
    )
    if session.execute(acquired).first() is None:
        return None
    attempts.orphan_running(session, due, now)
    return studies.get(session, due, None), Lease(study_id=due, token=token)


def extend(session: Session, lease: Lease, now: datetime, duration: timedelta) -> None:
    """Hold the study for another `duration`; guards every transaction that writes for it.

    Raises:
        LeaseLostError: If the study has another holder, or was ended.
    """
    _write(session, lease, {"acquired_until": now + duration})


def check(session: Session, lease: Lease) -> None:
    """Check the lease without writing.

    Raises:
        LeaseLostError: As `extend`.
    """
    held = select(StudyRow.id).where(
        StudyRow.id == lease.study_id, StudyRow.lease_token == lease.token
    )
    if session.scalar(held) is None:
        raise LeaseLostError()


def release(session: Session, lease: Lease, now: datetime) -> None:
    """Release an unfinished study, which is then due for another dispatcher.

    Raises:
        LeaseLostError: As `extend`.
    """
    _write(session, lease, NO_HOLDER)
    attempts.orphan_running(session, lease.study_id, now)


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


def _end(session: Session, lease: Lease, now: datetime, values: Mapping[str, Any]) -> None:
    _write(session, lease, {**values, "finished_at": now, **NO_HOLDER})


def _write(session: Session, lease: Lease, values: Mapping[str, Any]) -> None:
    written = (
        update(StudyRow)
        .where(StudyRow.id == lease.study_id, StudyRow.lease_token == lease.token)
        .values(**values)
        .returning(StudyRow.id)
        .execution_options(synchronize_session=False)
    )
    if session.execute(written).first() is None:
        raise LeaseLostError()
