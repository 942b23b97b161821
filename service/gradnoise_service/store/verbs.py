"""Verbs on studies: pause, resume, cancel, change of priority.

Each reads the study under a lock, so that it excludes the dispatcher's writes, which begin with an
update of the study. A verb that has been done already changes nothing.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.study import Study
from gradnoise_service.domain.verbs import Verb, applies
from gradnoise_service.store import attempts, leases, notices
from gradnoise_service.store.study_values import study_of
from gradnoise_service.store.tables import StudyRow


def pause(session: Session, study_id: int, owner: str | None, now: datetime) -> Study:
    """Pause a study: its holder checkpoints its trials and releases it.

    A study without a live holder is paused at once.

    Raises:
        NotFoundError: If no study that the owner may see has the id.
        VerbNotAllowedError: If it has ended.
    """
    row = _locked(session, study_id, owner)
    if _applies("pause", row):
        if leases.is_held(row, now):
            row.state = "pausing"
        else:
            row.state = "paused"
            leases.clear(row)
            attempts.orphan_running(session, study_id, now)
    return study_of(row)


def resume(session: Session, study_id: int, owner: str | None, now: datetime) -> Study:
    """Queue a paused study again; one that still pauses goes on.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: As `pause`.
    """
    row = _locked(session, study_id, owner)
    if _applies("resume", row):
        if leases.is_held(row, now):
            row.state = "running"
        else:
            row.state, row.started_at = "queued", None
            leases.clear(row)
            attempts.orphan_running(session, study_id, now)
    return study_of(row)


def cancel(session: Session, study_id: int, owner: str | None, now: datetime) -> Study:
    """Cancel a study; its holder loses the lease.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If it is complete or failed.
    """
    row = _locked(session, study_id, owner)
    if _applies("cancel", row):
        row.state, row.finished_at = "cancelled", now
        leases.clear(row)
        notices.add(session, study_id, now)
    return study_of(row)


def prioritize(session: Session, study_id: int, owner: str | None, priority: int) -> Study:
    """Change the priority of a study that waits, between -100 and 100.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If it is neither queued nor paused.
    """
    row = _locked(session, study_id, owner)
    if row.priority != priority and _applies("prioritize", row):
        row.priority = priority
    return study_of(row)


def _locked(session: Session, study_id: int, owner: str | None) -> StudyRow:
    is_shown = (StudyRow.id == study_id, StudyRow.deleted_at.is_(None))
    query = select(StudyRow).where(*is_shown).with_for_update()
    row = session.scalar(query if owner is None else query.where(StudyRow.owner == owner))
    if row is None:
        raise NotFoundError(f"There is no study {study_id}.")
    return row


def _applies(verb: Verb, row: StudyRow) -> bool:
    return applies(verb, row.name, row.state)  # type: ignore[arg-type]  # a StudyState
