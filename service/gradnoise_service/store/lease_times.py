"""When a lease is valid: within its duration of its last extension, before and after.

The bound before it matters where the clock was set back: a lease that seems to have been extended
in the future is not believed for longer than it was to last, so that a dead holder is noticed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, ColumnElement, Table, or_

from gradnoise_service.store.tables import StudyRow

Time: TypeAlias = datetime | BindParameter[Any]


def times(now: datetime, duration: timedelta) -> Mapping[str, datetime]:
    """Return the values of the columns of a lease that is extended now."""
    return {"acquired_from": now - duration, "acquired_until": now + duration}


def is_valid(table: Table, now: Time) -> ColumnElement[bool]:
    """Return the condition on a row to have a valid lease."""
    return (table.c.acquired_from <= now) & (table.c.acquired_until >= now)


def is_free(table: Table, now: Time) -> ColumnElement[bool]:
    """Return the condition on a row to have no lease, or one that is not valid."""
    return or_(table.c.acquired_until.is_(None), ~is_valid(table, now))


def is_held(row: StudyRow, now: datetime) -> bool:
    """Return whether the lease of a study that was read is valid."""
    if row.acquired_from is None or row.acquired_until is None:
        return False
    return row.acquired_from <= now <= row.acquired_until
