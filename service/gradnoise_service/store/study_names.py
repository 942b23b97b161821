"""Names of studies, unique among those of an owner."""

from sqlalchemy import select

from gradnoise_service.domain.errors import NameTakenError
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import STUDY


def name_taken(session: Transaction, owner: str, name: str) -> NameTakenError:
    """Return the error of a name that a study of the owner has."""
    same = select(STUDY.c.id).where(STUDY.c.owner == owner, STUDY.c.name == name)
    study_id = Prepared(same).first(session).id
    return NameTakenError(name, free_name(session, owner, name), study_id)


def free_name(session: Transaction, owner: str, name: str) -> str:
    """Return the name with the first number, from 2, with which no study of the owner has it."""
    stem = name[:70]
    is_near = STUDY.c.name.startswith(stem + "-", autoescape=True)
    near = Prepared(select(STUDY.c.name).where(STUDY.c.owner == owner, is_near))
    taken = {row.name for row in near.rows(session)}
    return next(f"{stem}-{i}" for i in range(2, len(taken) + 3) if f"{stem}-{i}" not in taken)
