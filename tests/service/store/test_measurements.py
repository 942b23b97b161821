"""Measurements are stored once, in order, with None for numbers that JSON lacks."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Measurement, Metric
from gradnoise_service.store import attempts, measurements, studies, trials
from gradnoise_service.store.database import Database


def test_a_stored_epoch_does_not_change(
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
        stored = measurements.of_trial(session, trial_id)
    assert [(row.epoch, dict(row.values), row.seconds) for row in stored] == [
        (1, {"loss": 0.125, "bad": None}, 0.5),
        (2, {"loss": 0.25, "bad": None}, 0.5),
    ]


def test_mean_curves_are_over_the_finite_confirm_runs(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    """Of 401 epochs every third is returned, including the last.

    Search trials and diverged runs are excluded; an epoch without a finite value has None.
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
        curves = measurements.mean_curves(session, study.id, "accuracy")
    assert {point.arm for point in curves} == {"baseline", "noisy"}
    noisy = [point for point in curves if point.arm == "noisy"]
    assert [point.epoch for point in noisy] == list(range(2, 402, 3))
    assert {point.n for point in curves} == {2}
    assert [point.value for point in noisy] == [None, *(0.5 + epoch for epoch in range(5, 402, 3))]
    assert {point.noise_to_gradient for point in noisy} == {0.75}
    assert {point.noise_to_gradient for point in curves if point.arm == "baseline"} == {None}


def test_the_noise_ratio_of_an_arm_is_the_median_over_its_latest_trials(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    """Each trial counts with its last epoch; trials without a measurement do not."""
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        spec = make_spec(search={"n_trials": 30, "epochs": 3})
        study = studies.submit(session, spec, metric, owner="ada", now=now)
        assert measurements.noise_ratios(session, study.id, n_arms=2) == ()
        trials.declare(session, study.id, study.design.trials("search"))
        for opening in attempts.waiting(session, study.id, "search"):
            trial = opening.trial
            started = now + timedelta(seconds=trial.number)
            token = attempts.start(session, trial.id, {"lr": 0.1}, trial.number, started)
            if trial.number == 29:
                continue
            ratio = {"noise_to_gradient": float(trial.number)} if trial.arm == "noisy" else {}
            rows = [
                Measurement(
                    trial_id=trial.id, epoch=1, values={"noise_to_gradient": 1e6}, seconds=1
                ),
                Measurement(trial_id=trial.id, epoch=2, values=ratio, seconds=1),
            ]
            measurements.record(session, rows)
            attempts.add_cost(session, {token: (2, 2.0)})
        (found,) = measurements.noise_ratios(session, study.id, n_arms=2)
    # the trials 9 to 28 of the noisy arm
    assert (found.arm, found.n, found.median) == ("noisy", 20, 18.5)
