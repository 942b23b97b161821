"""Measurements are kept once, in order, and never hold a number that JSON has not."""

import math
from collections.abc import Callable
from datetime import datetime

from service.domain.spec import StudySpec
from service.domain.study import Metric
from service.store import measurements, studies, trials
from service.store.database import Database
from service.store.measurements import MeasurementRow


def test_an_epoch_that_was_measured_stays_as_it_was(database: Database, make_spec: Callable[..., StudySpec], now: datetime) -> None:
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.spec, "search")
        trial_id = trials.openings(session, study.id, "search")[0].trial.id
        first = [
            MeasurementRow(trial_id=trial_id, epoch=epoch, values={"loss": epoch / 8, "bad": math.inf}, seconds=0.5) for epoch in (2, 1)
        ]
        measurements.record(session, first)
        measurements.record(session, [MeasurementRow(trial_id=trial_id, epoch=2, values={"loss": 9.0}, seconds=9.0)])
        measurements.record(session, [])
        read = measurements.of_trial(session, trial_id)
    assert [(row.epoch, dict(row.values), row.seconds) for row in read] == [
        (1, {"loss": 0.125, "bad": None}, 0.5),
        (2, {"loss": 0.25, "bad": None}, 0.5),
    ]
