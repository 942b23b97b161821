"""Measurements: every epoch of every trial, written in bulk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.store import tables


@dataclass(frozen=True, kw_only=True)
class MeasurementRow:
    """The metric values of one trial at one epoch (counted from 1); None where a value was not finite. `seconds` of device time."""

    trial_id: int
    epoch: int
    values: Mapping[str, float | None]
    seconds: float


def record(session: Session, rows: Sequence[MeasurementRow]) -> None:
    """Insert measurements; an epoch that an earlier attempt has measured stays as it is, since equal trials measure alike."""
    if not rows:
        return
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = [
        {
            "trial_id": row.trial_id,
            "epoch": row.epoch,
            "values": {name: value if value is not None and math.isfinite(value) else None for name, value in row.values.items()},
            "seconds": row.seconds,
        }
        for row in rows
    ]
    session.execute(insert(tables.MeasurementRow).on_conflict_do_nothing(), values)


def of_trial(session: Session, trial_id: int) -> list[MeasurementRow]:
    """Return a trial's measurements by epoch."""
    table = tables.MeasurementRow
    query = select(table).where(table.trial_id == trial_id).order_by(table.epoch)
    return [
        MeasurementRow(trial_id=row.trial_id, epoch=row.epoch, values=row.values, seconds=row.seconds) for row in session.scalars(query)
    ]
