"""Studies as values, read by columns; the same columns give the same object, which is parsed once.

Reading a study without its comparison, which may be large, is what most requests need.
"""

import functools
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Select,
    Text,
    bindparam,
    cast,
    exists,
    select,
    type_coerce,
)

from gradnoise_service.domain.sequential import Extension
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.stop import Stop
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.store.prepared import Prepared
from gradnoise_service.store.tables import STUDY, TRIAL, UtcDateTime

N_CACHED = 512
STOP = TypeAdapter(Stop)
UNREAD = (
    "comparison",
    "idempotency_key",
    "source_id",
    "lease_token",
    "acquired_by",
    "acquired_from",
    "acquired_until",
    "n_crashes",
    "n_ended_at_crash",
    "deleted_at",
)
"""Columns that a study as a value does not have, or that are read separately."""

COLUMNS = tuple(column for column in STUDY.columns if column.name not in UNREAD)
TIME = UtcDateTime()
HAS_ERRORS = exists().where(TRIAL.c.study_id == STUDY.c.id, TRIAL.c.error.is_not(None))


def _unparsed(column: Column[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, JSON):
        return cast(column, Text).label(column.name)
    return type_coerce(column, Text) if isinstance(column.type, UtcDateTime) else column


QUERY: Select[Any] = select(*map(_unparsed, COLUMNS), HAS_ERRORS).where(
    STUDY.c.deleted_at.is_(None)
)
"""Every study that is not deleted, with JSON and times as the database has them; for `parsed`."""
BY_ID = Prepared(QUERY.where(STUDY.c.id == bindparam("study_id", type_=STUDY.c.id.type)))


@functools.lru_cache(N_CACHED)
def parsed(row: tuple[Any, ...]) -> Study:
    """Return the study in a row of QUERY, without its comparison."""
    *of_columns, has_errors = row
    named = {
        name: value if convert is None else convert(value)
        for (name, convert), value in zip(CONVERSIONS, of_columns, strict=True)
    }
    return _study(SimpleNamespace(**named), None, has_errors=has_errors)


def study_of(row: Any) -> Study:
    """Return the study in a row of the table, with its comparison."""
    return _study(row, row.comparison)


def _conversion(column: Column[Any]) -> Callable[[Any], Any] | None:
    if isinstance(column.type, JSON):
        return json.loads
    return _time if isinstance(column.type, UtcDateTime) else None


def _time(value: str | datetime | None) -> datetime | None:  # text on SQLite
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return TIME.process_result_value(at)


CONVERSIONS = [(column.name, _conversion(column)) for column in COLUMNS]


def _study(row: Any, comparison: Mapping[str, Any] | None, *, has_errors: bool = True) -> Study:
    return Study(
        id=row.id,
        owner=row.owner,
        spec=StudySpec.model_validate(row.spec),
        metric=Metric(**row.metric),
        state=row.state,
        created_at=row.created_at,
        priority=row.priority,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        verdict=row.verdict,
        protocol=row.protocol,
        comparison=comparison,
        extensions=tuple(map(_extension, row.extensions)),
        source_name=row.source_name,
        devices=row.devices,
        tags=tuple(row.tags),
        note=row.note,
        pruned_at=row.pruned_at,
        is_settled=row.is_settled,
        stops=tuple(map(STOP.validate_python, row.stops)),
        has_errors=has_errors,
    )


def _extension(stored: Mapping[str, Any]) -> Extension:
    return Extension(
        n_seeds=stored["n_seeds"],
        n_epochs=stored.get("n_epochs", 0),
        at_n=stored["at_n"],
        verdict=stored["verdict"],
        extended_at=datetime.fromisoformat(stored["extended_at"]),
        accepts_changed_code=stored.get("accepts_changed_code", False),
    )
