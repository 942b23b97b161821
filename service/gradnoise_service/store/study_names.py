"""Names of studies, unique among those of an owner."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import NameTakenError
from gradnoise_service.store.tables import StudyRow


def name_taken(session: Session, owner: str, name: str) -> NameTakenError:
    """Return the error of a name that a study of the owner has."""
    study_id = session.scalars(
        select(StudyRow.id).where(StudyRow.owner == owner, StudyRow.name == name)
    ).one()
    return NameTakenError(name, free_name(session, owner, name), study_id)


def free_name(session: Session, owner: str, name: str) -> str:
    """Return the name with the first number, from 2, with which no study of the owner has it."""
    stem = name[:70]
    is_near = StudyRow.name.startswith(stem + "-", autoescape=True)
    taken = set(session.scalars(select(StudyRow.name).where(StudyRow.owner == owner, is_near)))
    return next(f"{stem}-{i}" for i in range(2, len(taken) + 3) if f"{stem}-{i}" not in taken)
