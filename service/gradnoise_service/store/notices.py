"""Messages to the URLs that a study notifies when it ends, until they are delivered.

A message is stored in the transaction that ends the study, so that it is lost with no process.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from gradnoise_service.store.tables import NoticeRow, StudyRow

KEPT = timedelta(days=30)
"""How long messages are kept after they were delivered or given up."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A message that is due; `n_attempts` counts this one."""

    id: int
    key: str
    url: str
    body: str
    n_attempts: int


def add(session: Session, study_id: int, now: datetime) -> None:
    """Store the messages about the end of a study; call it in the transaction that ends it."""
    session.flush()
    columns = (
        StudyRow.spec,
        StudyRow.name,
        StudyRow.owner,
        StudyRow.state,
        StudyRow.verdict,
        StudyRow.error,
    )
    study = session.execute(select(*columns).where(StudyRow.id == study_id)).one()
    for url in study.spec.get("notify", ()):
        key = f"msg_{uuid.uuid4().hex}"
        message = {
            "id": key,
            "type": "study.ended",
            "timestamp": now.isoformat(),
            "data": {
                "study_id": study_id,
                "name": study.name,
                "owner": study.owner,
                "state": study.state,
                "verdict": study.verdict,
                "error": study.error,
            },
        }
        body = json.dumps(message)
        row = NoticeRow(key=key, url=url, body=body, created_at=now, due_at=now, n_attempts=0)
        session.add(row)
    session.flush()


def claim(session: Session, now: datetime, hold: timedelta, limit: int) -> Sequence[Notice]:
    """Return messages that are due, oldest first, and hold them, so that no one else sends them.

    A message is due again when the hold ends, unless `settle` was called.
    """
    over = NoticeRow.due_at.is_(None) & (NoticeRow.created_at < now - KEPT)
    session.execute(delete(NoticeRow).where(over))
    due = select(NoticeRow.id).where(NoticeRow.due_at <= now).order_by(NoticeRow.due_at)
    held = (
        update(NoticeRow)
        .where(NoticeRow.id.in_(due.limit(limit).with_for_update(skip_locked=True)))
        .where(NoticeRow.due_at <= now)
        .values(due_at=now + hold, n_attempts=NoticeRow.n_attempts + 1)
        .returning(NoticeRow.id, NoticeRow.key, NoticeRow.url, NoticeRow.body, NoticeRow.n_attempts)
        .execution_options(synchronize_session=False)
    )
    rows = session.execute(held).all()
    return [Notice(**row._mapping) for row in sorted(rows, key=lambda row: row.id)]


def settle(session: Session, notice: Notice, due_at: datetime | None, error: str | None) -> None:
    """Store how sending a message ended; it is sent again at `due_at`, or never if that is None."""
    session.execute(
        update(NoticeRow)
        .where(NoticeRow.id == notice.id, NoticeRow.n_attempts == notice.n_attempts)
        .values(due_at=due_at, error=error)
    )


def n_waiting(session: Session) -> int:
    """Return the number of messages that are not delivered and not given up."""
    waiting = select(func.count()).select_from(NoticeRow).where(NoticeRow.due_at.is_not(None))
    return session.scalar(waiting) or 0
