"""The stored code of studies."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.source import Source
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import SOURCE, SourceRow, StudyRow

LATEST = Prepared(
    select(SOURCE)
    .where(SOURCE.c.hash == bindparam("hash"), SOURCE.c.owner == bindparam("owner"))
    .order_by(SOURCE.c.stored_at.desc(), SOURCE.c.id.desc())
    .limit(1)
    .with_for_update(read=True)  # until the study that names it is stored
)


@dataclass(frozen=True, kw_only=True)
class StoredSource:
    """A source with its id; the same code in two folders is stored twice."""

    id: int
    source: Source


def keep(session: Session, source: Source, *, owner: str, now: datetime) -> None:
    """Store a source, or update when it was stored last and what it announces."""
    same = (SourceRow.owner == owner, SourceRow.hash == source.hash)
    row = session.scalar(select(SourceRow).where(*same, SourceRow.folder == source.folder))
    if row is None:
        row = SourceRow(
            owner=owner,
            hash=source.hash,
            folder=source.folder,
            name=source.name,
            files=dict(source.files),
        )
        session.add(row)
    row.announced = dict(source.announced)
    row.stored_at = now
    session.flush()


def find(session: Transaction, hash: str, owner: str) -> StoredSource:
    """Return the source of an owner with a hash, from the folder where it was stored last.

    Raises:
        InvalidSpecError: If the owner has none.
    """
    row = LATEST.first(session, hash=hash, owner=owner)
    if row is None:
        fault = FieldFault(
            field="source",
            value=hash,
            message="no code with this hash is stored for you",
            legal="the hash of code that `gradnoise run` has stored, or none",
        )
        raise InvalidSpecError([fault])
    return StoredSource(id=row.id, source=_source(row))


def of_study(session: Session, study_id: int) -> Source | None:
    """Return the source of a study, None if its workload is installed."""
    row = session.scalar(
        select(SourceRow)
        .join(StudyRow, StudyRow.source_id == SourceRow.id)
        .where(StudyRow.id == study_id)
    )
    return None if row is None else _source(row)


def _source(row: Any) -> Source:
    return Source(name=row.name, files=row.files, folder=row.folder, announced=row.announced)
