"""Measurements: every epoch of every trial, written in bulk."""

import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Integer, bindparam, func, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.progress import NoiseRatio
from gradnoise_service.domain.study import EpochMean, Measurement
from gradnoise_service.store import tables
from gradnoise_service.store.database import insert_new
from gradnoise_service.store.prepared import Prepared, Transaction

NOISE_TO_GRADIENT = "noise_to_gradient"
MOST_EPOCHS = 200
N_LATEST = 20


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
    insert_new(session, tables.MEASUREMENT, values)


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
    they end early, which would make the mean jump. The means are exactly rounded: a mean in SQL
    would depend on the database and on the order of the rows.
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
    query = (
        select(trial.arm, measurement.epoch, measurement.values)
        .join(measurement, measurement.trial_id == trial.id)
        .where(*whole, measurement.epoch % apart == last % apart)
    )
    by_epoch: dict[tuple[str, int], list[Mapping[str, float | None]]] = {}
    for arm, epoch, values in session.execute(query):
        by_epoch.setdefault((arm, epoch), []).append(values)
    return [
        EpochMean(
            arm=arm,
            epoch=epoch,
            n=len(of_runs),
            value=_mean(of_runs, f"validation_{metric}"),
            noise_to_gradient=_mean(of_runs, NOISE_TO_GRADIENT),
        )
        for (arm, epoch), of_runs in sorted(by_epoch.items(), key=lambda item: item[0])
    ]


def noise_ratios(session: Transaction, study_id: int, n_arms: int) -> tuple[NoiseRatio, ...]:
    """Return the ratio of noise to gradient of each arm that measured one, over its latest trials.

    They are those among the N_LATEST trials of the study, for each arm, that started last.
    """
    by_arm: dict[str, list[float]] = {}
    limit = N_LATEST * n_arms
    for arm, values in _latest_query().rows(session, study_id=study_id, limit=limit):
        ratio = values.get(NOISE_TO_GRADIENT)
        if ratio is not None:
            by_arm.setdefault(arm, []).append(ratio)
    return tuple(
        NoiseRatio(arm=arm, median=statistics.median(ratios), n=len(ratios))
        for arm, ratios in sorted(by_arm.items())
    )


@functools.cache
def _latest_query() -> Prepared:
    """Return the query of the last measurements of the trials that started last."""
    trial, measurement = tables.TRIAL.c, tables.MEASUREMENT.c
    latest = (
        select(trial.id, trial.arm, trial.epochs, trial.started_at)
        .where(trial.study_id == bindparam("study_id"), trial.epochs > 0)
        .order_by(trial.started_at.desc(), trial.id.desc())
        .limit(bindparam("limit", type_=Integer))
        .subquery()
    )
    last = (measurement.trial_id == latest.c.id) & (measurement.epoch == latest.c.epochs)
    query = select(latest.c.arm, measurement["values"]).join(tables.MEASUREMENT, last)
    return Prepared(query.order_by(latest.c.started_at.desc(), latest.c.id.desc()))


def _mean(of_runs: Iterable[Mapping[str, float | None]], name: str) -> float | None:
    values = [value for run in of_runs if (value := run.get(name)) is not None]
    return statistics.fmean(values) if values else None
