"""Measurements are kept once, in order, and never hold a number that JSON has not."""

import math
from collections.abc import Callable
from datetime import datetime

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Measurement, Metric
from gradnoise_service.store import attempts, measurements, studies, trials
from gradnoise_service.store.database import Database


def test_an_epoch_that_was_measured_stays_as_it_was(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
        trial_id = attempts.waiting(session, study.id, "search")[0].trial.id
        first = [
            Measurement(
                trial_id=trial_id,
                epoch=epoch,
                values={"loss": epoch / 8, "bad": math.inf},
                seconds=0.5,
            )
            for epoch in (2, 1)
        ]
        measurements.record(session, first)
        measurements.record(
            session, [Measurement(trial_id=trial_id, epoch=2, values={"loss": 9.0}, seconds=9.0)]
        )
        measurements.record(session, [])
        read = measurements.of_trial(session, trial_id)
    assert [(row.epoch, dict(row.values), row.seconds) for row in read] == [
        (1, {"loss": 0.125, "bad": None}, 0.5),
        (2, {"loss": 0.25, "bad": None}, 0.5),
    ]


def test_the_courses_are_the_means_over_the_whole_confirm_runs(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    """Over 401 epochs they are 3 apart, the last among them; what was not finite, diverged or not
    confirm is left out.
    """
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(
            session, make_spec(confirm={"n_seeds": 3, "epochs": 401}), metric, owner="ada", now=now
        )
        assert measurements.mean_curves(session, study.id, "accuracy") == []
        trials.declare(session, study.id, study.design.trials("search"))
        settings = {"baseline": [{"lr": 0.1}], "noisy": [{"lr": 0.1, "eta": 1.0}]}
        trials.declare(session, study.id, study.design.trials("confirm", settings))
        rows = []
        openings = [
            *attempts.waiting(session, study.id, "search"),
            *attempts.waiting(session, study.id, "confirm"),
        ]
        for i, trial in enumerate(opening.trial for opening in openings):
            token = attempts.start(session, trial.id, {"lr": 0.1}, i, now)
            diverged = trial.number == 2
            attempts.end(
                session, token, "complete", now, value=0.0 if diverged else 0.5, diverged=diverged
            )
            ratio = {"noise_to_gradient": 0.5 * (trial.number + 1)} if trial.arm == "noisy" else {}
            value = trial.number + (10 if trial.phase == "search" or diverged else 0)
            rows += [
                Measurement(
                    trial_id=trial.id,
                    epoch=epoch,
                    values={"validation_accuracy": math.nan if epoch == 2 else value + epoch}
                    | ratio,
                    seconds=1,
                )
                for epoch in range(1, 402)
            ]
        measurements.record(session, rows)
        found = measurements.mean_curves(session, study.id, "accuracy")
    assert {one.arm for one in found} == {"baseline", "noisy"}
    noisy = [one for one in found if one.arm == "noisy"]
    assert [one.epoch for one in noisy] == list(range(2, 402, 3))
    assert {one.n for one in found} == {2}
    assert [one.value for one in noisy] == [None, *(0.5 + epoch for epoch in range(5, 402, 3))]
    assert {one.noise_to_gradient for one in noisy} == {0.75}
    assert {one.noise_to_gradient for one in found if one.arm == "baseline"} == {None}
