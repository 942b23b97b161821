"""What holds of every trainer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gradnoise.training import open_trainer
from gradnoise.training.setup import prepare
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trainer import Trainer
from gradnoise.training.trial import Failed, Finished, Measurement
from gradnoise.workloads import permutation
from trial_runs import alone, assert_same, curve, run, spec

TRAINERS = [
    pytest.param(lambda: SingleTrainer(3), id="single"),
    pytest.param(lambda: StackTrainer(3), id="stack"),
]
Open = Callable[[], Trainer]


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


@pytest.mark.parametrize("opened", TRAINERS)
def test_a_trial_is_measured_after_each_epoch_and_finishes_its_budget(opened: Open) -> None:
    events = run(opened(), spec(budget_epochs=2))
    assert [type(event) for event in events] == [Measurement, Measurement, Finished]
    assert [event.epoch for event in events if isinstance(event, Measurement)] == [1, 2]
    assert all(event.seconds > 0 for event in events if isinstance(event, Measurement))
    assert set(curve(events)[0]) == {"train_loss", "validation_error"}
    assert events[-1] == Finished(key="a", diverged=False)


@pytest.mark.parametrize("opened", TRAINERS)
def test_the_test_split_is_measured_only_if_requested(opened: Open) -> None:
    assert set(curve(run(opened(), spec(with_test=True)))[0]) == {
        "train_loss",
        "validation_error",
        "test_error",
    }


@pytest.mark.parametrize("opened", TRAINERS)
def test_equal_trials_give_equal_results_and_other_seeds_give_others(opened: Open) -> None:
    noisy = {"technique": "annealed", "params": {"lr": 0.05, "eta": 0.3, "gamma": 0.55}}
    first, again, other = (curve(run(opened(), spec(seed=seed, **noisy))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("opened", TRAINERS)
def test_a_trial_waits_at_its_rungs_until_it_is_let_go_on(opened: Open) -> None:
    trainer = opened()
    trainer.admit(spec(rungs=(1, 2)))
    trainer.admit(spec("b", budget_epochs=5))
    assert [event.key for event in trainer.advance()] == ["a", "b"]
    assert [event.key for event in trainer.advance()] == ["b"]
    assert [event.key for event in trainer.advance(["a"])] == ["a", "b"]
    assert [event.key for event in trainer.advance(["nobody"])] == ["b"]
    assert trainer.advance(["a"])[1] == Finished(key="a")


@pytest.mark.parametrize("opened", TRAINERS)
def test_a_released_trial_is_gone_and_its_slot_free(opened: Open) -> None:
    trainer = opened()
    for key in "abc":
        trainer.admit(spec(key))
    with pytest.raises(RuntimeError, match="no slot is free: all 3 hold a trial"):
        trainer.admit(spec("d"))
    trainer.advance()
    trainer.release("b")
    trainer.release("nobody")
    trainer.admit(spec("d"))
    assert [event.key for event in trainer.advance()] == ["a", "c", "d"]


@pytest.mark.parametrize("opened", TRAINERS)
def test_a_diverged_trial_ends_alone(opened: Open) -> None:
    """Its slot becomes free, the epoch has no measurement, and the neighbours' results do not
    change.
    """
    kept = spec(technique="annealed", params={"lr": 0.05, "eta": 0.3, "gamma": 0.55})
    events = run(opened(), spec("wild", params={"lr": 1e200}), kept, spec("b", seed=2))
    [end] = [event for event in events if event.key == "wild"]
    assert end == Finished(key="wild", diverged=True)
    assert isinstance(end, Finished)
    assert end.seconds > 0  # the device time of the lost epoch
    assert_same(curve(events), alone(kept))
    assert Finished(key="b") in events


@pytest.mark.parametrize("opened", TRAINERS)
def test_weights_that_overflow_at_the_last_update_count_as_diverged(opened: Open) -> None:
    """The epoch's loss and metrics are still finite, but the weights are not."""
    assert [
        type(event)
        for event in run(opened(), spec(workload="blind", budget_epochs=1, params={"lr": 1e100}))
    ] == [
        Measurement,
        Finished,
    ]
    assert run(opened(), spec(workload="blind", budget_epochs=1, params={"lr": 1e200})) == [
        Finished(key="a", diverged=True)
    ]


@pytest.mark.parametrize("opened", TRAINERS)
@pytest.mark.parametrize("method", ["data", "model", "loss"])
def test_a_trial_that_raises_fails_alone_with_its_traceback(opened: Open, method: str) -> None:
    kept = spec(budget_epochs=2)
    events = run(opened(), spec("bad", workload="fragile", options={"breaks_in": method}), kept)
    (failed,) = (event for event in events if event.key == "bad")
    assert isinstance(failed, Failed)
    assert failed.summary == f"OSError: no {method} today"
    assert "probe_workloads.py" in failed.error
    assert failed.error.rstrip().endswith(failed.summary)
    assert_same(curve(events), alone(kept))


@pytest.mark.parametrize("opened", TRAINERS)
def test_a_trial_that_cannot_be_set_up_fails_and_is_no_error_of_admit(opened: Open) -> None:
    events = run(opened(), spec("bad", params={"lr": -1.0}))
    assert [type(event) for event in events] == [Failed]
    # a Failed
    assert "lr must be a finite number in (0, inf), but got lr=-1.0" in events[0].summary  # type: ignore[union-attr]


@pytest.mark.parametrize("opened", TRAINERS)
def test_a_trainer_holds_many_workloads_at_once(opened: Open) -> None:
    trials = [
        spec(),
        spec("b", workload="counting"),
        spec("c", workload="exact", params={"lr": 0.05, "scale": 2.0}),
    ]
    events = run(opened(), *trials)
    for trial in trials:
        assert_same(curve(events, trial.key), alone(trial))


@pytest.mark.parametrize("opened", TRAINERS)
def test_each_epoch_has_its_own_order_and_whole_batches_only(opened: Open) -> None:
    """30 examples in batches of 8 are three updates; at a learning rate of 1e-300 the loss is that
    of the epoch's first 24 examples.
    """
    values = curve(run(opened(), spec(budget_epochs=3, params={"lr": 1e-300})))
    workload: Any = prepare(spec()).workload
    model = workload.model()
    workload.initialise(model, 1)
    for epoch in range(3):
        rows = permutation(1, "order", epoch, 30)[:24]
        with torch.no_grad():
            expected = float(
                workload.loss(model, tuple(part[rows] for part in workload.data().train))
            )
        assert values[epoch]["train_loss"] == pytest.approx(expected, rel=1e-10)


def test_trials_with_and_without_the_test_split_train_side_by_side() -> None:
    trials = [spec(), spec("b", with_test=True), spec("c")]
    events = run(StackTrainer(3), *trials)
    for trial in trials:
        assert_same(curve(events, trial.key), alone(trial))


def test_one_slot_is_the_single_trainer_and_more_are_a_stack() -> None:
    assert isinstance(open_trainer(1), SingleTrainer)
    assert isinstance(open_trainer(4), StackTrainer)
    assert open_trainer(4).slots == 4
    with pytest.raises(ValueError, match="slots must be at least 1, but got slots=0"):
        open_trainer(0)


def test_a_key_is_in_one_slot_only() -> None:
    trainer = SingleTrainer(2)
    trainer.admit(spec())
    with pytest.raises(ValueError, match="'a' is in a slot already"):
        trainer.admit(spec())
