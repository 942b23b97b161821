"""Counters of events over the life of the database, which the deletion of studies leaves alone."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from gradnoise_service.store.tables import CounterRow

LEASE_LOSSES = "lease_losses"
ATTEMPTS = "attempts_"
"""The prefix of the number of attempts that ended with an outcome."""


def add(session: Session, name: str, n: int = 1) -> None:
    """Add to a counter, which starts at 0."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    added = insert(CounterRow).values(name=name, value=n)
    value = CounterRow.value + n
    session.execute(
        added.on_conflict_do_update(index_elements=[CounterRow.name], set_={"value": value})
    )


def read(session: Session) -> Mapping[str, int]:
    """Return every counter by its name."""
    return {row.name: row.value for row in session.scalars(select(CounterRow))}
