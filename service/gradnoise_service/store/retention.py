"""Retention: ended studies whose logs and files are removed after some time."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from gradnoise_service.domain.study import STUDY_ENDED, Study
from gradnoise_service.store.study_values import study_of
from gradnoise_service.store.tables import FileRow, LogRow, StudyRow, TrialRow


def ended(session: Session, before: datetime, *, pruned: bool) -> Sequence[Study]:
    """Return the studies that ended before a time; without `pruned`, those not pruned since."""
    query = select(StudyRow).where(_has_ended(before)).order_by(StudyRow.id)
    if not pruned:
        query = query.where(_is_whole())
    return [study_of(row) for row in session.scalars(query)]


def lock(session: Session, study_id: int, before: datetime) -> bool:
    """Keep a study as it is until the end of the transaction.

    Returns:
        False if it has been extended, deleted or pruned since it was found.
    """
    query = select(StudyRow.id).where(StudyRow.id == study_id, _has_ended(before), _is_whole())
    return session.scalar(query.with_for_update()) is not None


def forget(session: Session, study_id: int, now: datetime) -> None:
    """Remove the logs of a study and the records of its files, and note when."""
    of_study = select(TrialRow.id).where(TrialRow.study_id == study_id)
    for statement in (
        delete(LogRow).where(LogRow.study_id == study_id),
        delete(FileRow).where(FileRow.trial_id.in_(of_study)),
        update(StudyRow).where(StudyRow.id == study_id).values(pruned_at=now),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def _has_ended(before: datetime) -> ColumnElement[bool]:
    return (
        StudyRow.state.in_(STUDY_ENDED)
        & StudyRow.deleted_at.is_(None)
        & (StudyRow.finished_at < before)
    )


def _is_whole() -> ColumnElement[bool]:
    return or_(StudyRow.pruned_at.is_(None), StudyRow.pruned_at < StudyRow.finished_at)
