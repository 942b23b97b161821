"""Measurements: every epoch of every trial, written in bulk."""

import math
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.study import EpochMean, Measurement
from gradnoise_service.store import tables
from gradnoise_service.store.database import insert_new

NOISE_TO_GRADIENT = "noise_to_gradient"
MOST_EPOCHS = 200


def record(session: Session, rows: Sequence[Measurement]) -> None:
    """Insert measurements; an epoch that an earlier attempt measured is left unchanged.

    Attempts of a trial measure the same values. Values that are not finite are stored as null.
    """
    if not rows:
        return
    values = [
        {
            "trial_id": row.trial_id,
            "epoch": row.epoch,
            "values": {
                name: value if value is not None and math.isfinite(value) else None
                for name, value in row.values.items()
            },
            "seconds": row.seconds,
        }
        for row in rows
    ]
    insert_new(session, tables.MeasurementRow, values)


def of_trial(session: Session, trial_id: int) -> list[Measurement]:
    """Return a trial's measurements by epoch."""
    table = tables.MeasurementRow
    query = select(table).where(table.trial_id == trial_id).order_by(table.epoch)
    return [
        Measurement(trial_id=row.trial_id, epoch=row.epoch, values=row.values, seconds=row.seconds)
        for row in session.scalars(query)
    ]


def mean_curves(session: Session, study_id: int, metric: str) -> list[EpochMean]:
    """Return the mean curve over each arm's complete confirm runs, at most about 200 epochs.

    The epochs are evenly spaced and include the last. Runs that diverged or failed are left out:
    they end early, which would make the mean jump.
    """
    trial, measurement = tables.TrialRow, tables.MeasurementRow
    whole = (
        trial.study_id == study_id,
        trial.phase == "confirm",
        trial.state == "complete",
        trial.diverged.is_(False),
    )
    last = session.scalar(select(func.max(trial.budget_epochs)).where(*whole))
    if last is None:
        return []
    apart = -(-last // MOST_EPOCHS)
    value, ratio = (
        func.avg(measurement.values[name].as_float())
        for name in (f"validation_{metric}", NOISE_TO_GRADIENT)
    )
    query = (
        select(trial.arm, measurement.epoch, func.count(), value, ratio)
        .join(measurement, measurement.trial_id == trial.id)
        .where(*whole, measurement.epoch % apart == last % apart)
        .group_by(trial.arm, measurement.epoch)
        .order_by(trial.arm, measurement.epoch)
    )
    return [
        EpochMean(arm=arm, epoch=epoch, n=n, value=value, noise_to_gradient=ratio)
        for arm, epoch, n, value, ratio in session.execute(query)
    ]
