"""Decisions are pure: the same events of the same attempts have the same consequences."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradnoise.training.trial import Failed, Finished, Measurement
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.study import Trial
from gradnoise_service.store.attempts import WaitingTrial
from gradnoise_workers.launcher import WorkerLost
from gradnoise_workers.study.decisions import Attempt, Rules, decide
from study_runs import ACCURACY

Make = Callable[..., StudySpec]


def attempt(phase: Phase = "search", *, rungs: tuple[int, ...] = (), n_counted: int = 0) -> Attempt:
    trial = Trial(
        id=7,
        study_id=1,
        phase=phase,
        arm="noisy",
        number=0,
        seed=1,
        budget_epochs=9,
        state="running",
    )
    waiting = WaitingTrial(trial=trial, optuna_number=None, n_counted=n_counted, n_measured=0)
    return Attempt(waiting=waiting, token="token", optuna_number=0, rungs=rungs)


def epoch(number: int, validation: float = 0.5, **values: float) -> Measurement:
    measured = {"validation_accuracy": validation} | values
    return Measurement(key="token", epoch=number, values=measured, seconds=2.0)


def rules(make_spec: Make, **changes: object) -> Rules:
    return Rules(spec=make_spec(**changes), metric=ACCURACY)


def test_a_measurement_is_stored_and_costs_its_seconds(make_spec: Make) -> None:
    decisions = decide(rules(make_spec), {"token": attempt()}, [epoch(1), epoch(2)])
    assert [(m.trial_id, m.epoch, m.seconds) for m in decisions.measurements] == [
        (7, 1, 2.0),
        (7, 2, 2.0),
    ]
    after = decisions.attempts["token"]
    assert (after.epoch, after.unrecorded_seconds) == (2, 4.0)
    assert after.recorded().unrecorded_seconds == 0.0
    assert decisions.endings == {}


def test_an_attempt_at_a_rung_waits_for_the_pruner(make_spec: Make) -> None:
    decisions = decide(rules(make_spec), {"token": attempt(rungs=(2, 4))}, [epoch(1), epoch(2)])
    assert decisions.at_rung == ["token"]
    pruned = rules(make_spec).prune(decisions.attempts["token"])
    assert (pruned.state, pruned.value) == ("pruned", 0.5)


def test_events_of_unknown_or_ended_attempts_are_ignored(make_spec: Make) -> None:
    late = replace(epoch(3), key="another")
    decisions = decide(
        rules(make_spec), {"token": attempt()}, [epoch(1), Finished(key="token"), epoch(2), late]
    )
    assert [m.epoch for m in decisions.measurements] == [1]
    assert set(decisions.attempts) == {"token"}


@pytest.mark.parametrize(
    ("event", "state", "outcome", "value", "diverged"),
    [
        (Finished(key="token"), "complete", "complete", 0.5, False),
        (Finished(key="token", diverged=True), "complete", "complete", None, True),
        (epoch(2, math.inf), "complete", "complete", None, True),
        (Failed(key="token", error="boom", summary="boom"), "failed", "failed", None, False),
        (WorkerLost(key="token", reason="killed"), "failed", "worker_lost", None, False),
    ],
)
def test_each_event_ends_the_attempt_with_its_outcome(
    make_spec: Make, event: object, state: str, outcome: str, value: float | None, diverged: bool
) -> None:
    """The trial has a single attempt, and a lost trial has no value."""
    decisions = decide(
        rules(make_spec, max_attempts=1),
        {"token": attempt()},
        [epoch(1), event],  # type: ignore[list-item]  # a launcher event
    )
    end = decisions.endings["token"]
    assert (end.state, end.outcome, end.value, end.diverged) == (state, outcome, value, diverged)


def test_a_failure_is_retried_until_the_attempts_are_used_up(make_spec: Make) -> None:
    failure = Failed(key="token", error="boom", summary="boom")
    states = []
    for n_counted in range(3):
        running = {"token": attempt(n_counted=n_counted)}
        end = decide(rules(make_spec, max_attempts=3), running, [failure]).endings["token"]
        states.append((end.state, end.value))
    assert states == [(None, None), (None, None), ("failed", None)]


@pytest.mark.parametrize(
    ("n_suspects", "n_uncounted", "state", "outcome"),
    [
        (1, 0, "failed", "worker_lost"),
        (3, 0, None, "stack_lost"),
        (0, 0, None, "displaced"),
        (0, 100, "failed", "worker_lost"),
    ],
)
def test_a_lost_worker_counts_against_the_trial_that_alone_trained(
    make_spec: Make, n_suspects: int, n_uncounted: int, state: str | None, outcome: str
) -> None:
    before = attempt()
    waiting = replace(before.waiting, n_uncounted=n_uncounted)
    running = {"token": replace(before, waiting=waiting)}
    lost = WorkerLost(key="token", reason="it crashed", n_suspects=n_suspects)
    end = decide(rules(make_spec, max_attempts=1), running, [lost]).endings["token"]
    assert (end.state, end.outcome, end.error) == (state, outcome, "it crashed")


def test_a_trial_trains_apart_after_two_suspicions() -> None:
    before = attempt()
    apart = [
        replace(before, waiting=replace(before.waiting, n_suspected=n)).is_apart for n in range(4)
    ]
    assert apart == [False, False, True, True]


def test_a_trial_over_its_time_limit_is_not_retried(make_spec: Make) -> None:
    failure = Failed(key="token", error="too long", summary="too long", may_retry=False)
    end = decide(rules(make_spec, max_attempts=3), {"token": attempt()}, [failure]).endings["token"]
    assert (end.state, end.value, end.error) == ("failed", None, "too long")


def test_an_epoch_without_the_objective_fails_the_attempt_and_frees_its_slot(
    make_spec: Make,
) -> None:
    incomplete = epoch(1)
    decisions = decide(
        rules(make_spec, max_attempts=1), {"token": attempt("confirm")}, [incomplete]
    )
    assert decisions.endings["token"].error == (
        "epoch 1 measured validation_accuracy, but not test_accuracy"
    )
    assert decisions.evicted == ["token"]


def test_a_workload_without_test_data_is_judged_on_validation(make_spec: Make) -> None:
    untested = Rules(spec=make_spec(), metric=replace(ACCURACY, has_test=False))
    running = {"token": attempt("confirm")}
    decisions = decide(untested, running, [epoch(1, validation=0.7), Finished(key="token")])
    assert (decisions.endings["token"].state, decisions.endings["token"].value) == ("complete", 0.7)


def test_a_trial_without_a_measurement_fails(make_spec: Make) -> None:
    decisions = decide(
        rules(make_spec, max_attempts=1), {"token": attempt()}, [Finished(key="token")]
    )
    assert decisions.endings["token"].state == "failed"


@given(validation=st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_the_judged_epoch_follows_the_declared_rule(validation: list[float]) -> None:
    """The last epoch or the first of the best on validation is judged by its test value."""
    events = [epoch(i + 1, value, test_accuracy=i / 10) for i, value in enumerate(validation)]
    best = max(range(len(validation)), key=lambda i: (validation[i], -i))
    for judge, expected in (("last_epoch", len(validation) - 1), ("best_validation_epoch", best)):
        spec = StudySpec.model_validate(
            {
                "name": "s",
                "workload": "mlp",
                "smallest_difference": 0.1,
                "space": {"lr": 0.1},
                "search": {"n_trials": 1, "epochs": 9},
                "confirm": {"n_seeds": 2},
                "seed": 1,
                "judge": judge,
            }
        )
        judging = Rules(spec=spec, metric=ACCURACY)
        decisions = decide(judging, {"token": attempt("confirm")}, events)
        assert judging.value(decisions.attempts["token"]) == expected / 10


@pytest.mark.parametrize("ending", [Finished(key="token", diverged=True), epoch(3, math.inf)])
def test_a_run_that_diverges_keeps_its_best_epoch_only_where_that_is_judged(
    make_spec: Make, ending: Finished | Measurement
) -> None:
    measured = [epoch(1, 0.4), epoch(2, 0.3)]
    cases: list[tuple[str, list[Measurement], float | None]] = [
        ("last_epoch", measured, None),
        ("best_validation_epoch", measured, 0.4),
        ("best_validation_epoch", [], None),
    ]
    for judge, events, value in cases:
        running = {"token": attempt()}
        end = decide(rules(make_spec, judge=judge), running, [*events, ending]).endings["token"]
        assert (end.state, end.value, end.diverged) == ("complete", value, True)
