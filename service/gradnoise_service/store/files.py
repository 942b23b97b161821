"""Files that trials have saved: one of each name a trial, the latest."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.study import TrialFile
from gradnoise_service.store.attempts import trial_of
from gradnoise_service.store.tables import FileRow, TrialRow


def record(session: Session, files: Sequence[TrialFile], now: datetime) -> None:
    """Store files; one with the same name in its trial is replaced.

    Their attempts must run, which `attempts.add_cost` checks in the same transaction.
    """
    for file in files:
        row = FileRow(
            trial_id=file.trial_id,
            name=file.name,
            n_bytes=file.n_bytes,
            sha256=file.sha256,
            saved_at=now,
        )
        session.merge(row)


def forget(session: Session, trial_ids: Sequence[int], name: str) -> list[TrialFile]:
    """Remove a file of this name from each of the trials, and return those that there were."""
    rows = session.scalars(
        select(FileRow).where(FileRow.trial_id.in_(trial_ids), FileRow.name == name)
    ).all()
    for row in rows:
        session.delete(row)
    return [
        TrialFile(trial_id=row.trial_id, name=row.name, n_bytes=row.n_bytes, sha256=row.sha256)
        for row in rows
    ]


def of_study(session: Session, study_id: int, trial_id: int | None = None) -> list[TrialFile]:
    """Return the files of a study, or of a trial of it, by trial and name."""
    query = (
        select(FileRow, TrialRow)
        .join(TrialRow, TrialRow.id == FileRow.trial_id)
        .where(TrialRow.study_id == study_id)
        .order_by(FileRow.trial_id, FileRow.name)
    )
    if trial_id is not None:
        query = query.where(TrialRow.id == trial_id)
    return [
        TrialFile(
            trial_id=row.trial_id,
            name=row.name,
            n_bytes=row.n_bytes,
            sha256=row.sha256,
            trial=trial_of(trial).path,
        )
        for row, trial in session.execute(query)
    ]


def get(session: Session, study_id: int, trial_id: int, name: str) -> TrialFile:
    """Return a file of a trial.

    Raises:
        NotFoundError: If the trial of the study has none with this name.
    """
    for file in of_study(session, study_id, trial_id):
        if file.name == name:
            return file
    raise NotFoundError(f"Trial {trial_id} of study {study_id} has no file {name!r}.")
