"""Dispatchers that are alive, for people who ask why nothing runs."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from gradnoise_service.store.tables import DispatcherRow


@dataclass(frozen=True, kw_only=True)
class DispatcherInfo:
    """A dispatcher process: the device its trials run on, how many run at once, and until when it
    counts as alive.
    """

    id: str
    device: str
    n_slots: int
    acquired_until: datetime


def announce(session: Session, info: DispatcherInfo, now: datetime) -> None:
    """Say that a dispatcher lives, and forget those that have been silent for an hour."""
    session.execute(
        delete(DispatcherRow).where(DispatcherRow.acquired_until < now - timedelta(hours=1))
    )
    session.merge(
        DispatcherRow(
            id=info.id, device=info.device, n_slots=info.n_slots, acquired_until=info.acquired_until
        )
    )


def withdraw(session: Session, dispatcher: str) -> None:
    """Say that a dispatcher has stopped."""
    session.execute(delete(DispatcherRow).where(DispatcherRow.id == dispatcher))


def live(session: Session, now: datetime) -> list[DispatcherInfo]:
    """Return the dispatchers that have given a sign of life in time."""
    query = (
        select(DispatcherRow).where(DispatcherRow.acquired_until >= now).order_by(DispatcherRow.id)
    )
    return [
        DispatcherInfo(
            id=row.id, device=row.device, n_slots=row.n_slots, acquired_until=row.acquired_until
        )
        for row in session.scalars(query)
    ]
