"""Deletion of studies: each is marked, then its rows are removed in parts."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import StudyRunningError
from gradnoise_service.domain.study import STUDY_ENDED, STUDY_HELD, Study
from gradnoise_service.store import notices, studies
from gradnoise_service.store.study_values import study_of
from gradnoise_service.store.tables import (
    AttemptRow,
    FileRow,
    LogRow,
    MeasurementRow,
    SourceRow,
    StudyRow,
    TrialRow,
)


def mark(session: Session, study_id: int, owner: str | None, now: datetime) -> None:
    """Mark a study as deleted: it is found no longer, and its name is free.

    A study that has not ended is cancelled, with a message to the URLs that it notifies. Repeated
    before the study has been removed, the deletion changes nothing.

    Args:
        session: The transaction.
        study_id: The study.
        owner: Who may see the study; None for everyone.
        now: The time from which it counts as deleted.

    Raises:
        NotFoundError: As `studies.get`.
        StudyRunningError: If a dispatcher may hold the study.
    """
    deleted = select(StudyRow.owner).where(
        StudyRow.id == study_id, StudyRow.deleted_at.is_not(None)
    )
    if (deleted_of := session.scalar(deleted)) is not None and owner in (None, deleted_of):
        return
    row = studies.stored(session, study_id, owner, locked=True)
    if row.state in STUDY_HELD:
        raise StudyRunningError(
            f"The state of study {row.name!r} is {row.state}; it cannot be deleted."
        )
    if row.state not in STUDY_ENDED:
        row.state, row.finished_at = "cancelled", now
        notices.add(session, study_id, now)
    row.state, row.deleted_at = "cancelled", now
    row.name, row.suite, row.idempotency_key = f"#{study_id}", None, None  # no legal name


def marked(session: Session, before: datetime) -> Sequence[Study]:
    """Return the studies that ended and were deleted before a time, with what is left of them."""
    rows = session.scalars(
        select(StudyRow).where(StudyRow.deleted_at <= before, StudyRow.finished_at <= before)
    )
    return list(map(study_of, rows))


def remove_trials(session: Session, study_id: int, limit: int) -> int:
    """Remove up to so many trials of a study with all that refers to them; return how many."""
    ids = session.scalars(
        select(TrialRow.id).where(TrialRow.study_id == study_id).limit(limit)
    ).all()
    tokens = select(AttemptRow.lease_token).where(AttemptRow.trial_id.in_(ids))
    for statement in (
        delete_from(LogRow).where(LogRow.lease_token.in_(tokens)),
        *(
            delete_from(table).where(table.trial_id.in_(ids))
            for table in (FileRow, MeasurementRow, AttemptRow)
        ),
        delete_from(TrialRow).where(TrialRow.id.in_(ids)),
    ):
        session.execute(statement.execution_options(synchronize_session=False))
    return len(ids)


def remove(session: Session, study_id: int) -> None:
    """Remove the row of a study, and its source if no other study has it."""
    source_id = session.scalar(select(StudyRow.source_id).where(StudyRow.id == study_id))
    session.execute(delete_from(StudyRow).where(StudyRow.id == study_id))
    if source_id is None:
        return
    # a submission that names the source waits for the lock, or has been counted
    session.execute(select(SourceRow.id).where(SourceRow.id == source_id).with_for_update())
    if session.scalar(select(StudyRow.id).where(StudyRow.source_id == source_id)) is None:
        session.execute(delete_from(SourceRow).where(SourceRow.id == source_id))
