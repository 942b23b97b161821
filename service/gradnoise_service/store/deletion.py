"""Deletion of studies: each is marked, then its rows are removed in parts."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import StudyRunningError
from gradnoise_service.domain.study import STUDY_HELD, Study
from gradnoise_service.store import studies
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

    Raises:
        NotFoundError: As `studies.get`.
        StudyRunningError: If a dispatcher may hold the study.
    """
    study = studies.describe(session, study_id, owner)
    statement = (
        update(StudyRow)
        .where(StudyRow.id == study_id, StudyRow.state.not_in(STUDY_HELD))
        .values(
            deleted_at=now,
            finished_at=func.coalesce(StudyRow.finished_at, now),
            state="cancelled",
            name=f"#{study_id}",  # no legal name
            suite=None,
            idempotency_key=None,
        )
        .returning(StudyRow.id)
    )
    if session.execute(statement.execution_options(synchronize_session=False)).first() is None:
        raise StudyRunningError(
            f"The state of study {study.spec.name!r} is {study.state}; it cannot be deleted."
        )


def marked(session: Session, ended_before: datetime) -> Sequence[Study]:
    """Return the deleted studies that ended before a time, with what is left of them."""
    rows = session.scalars(
        select(StudyRow).where(
            StudyRow.deleted_at.is_not(None), StudyRow.finished_at <= ended_before
        )
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
