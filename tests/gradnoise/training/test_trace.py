"""A trace shows other processes which trials train, and that they go on."""

import os
from pathlib import Path

import pytest

from gradnoise.training.stack import StackTrainer
from gradnoise.training.trace import Trace, Traced, beat
from trial_runs import alone, assert_same, curve, run, spec


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def test_a_trace_names_the_trials_within_the_block_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "worker"
    assert Traced.read(path) == Traced()
    trace = Trace(path)
    with trace.training(["a", "b"]):
        assert Traced.read(path).keys == ("a", "b")
        with trace.training(["c"]):
            assert Traced.read(path).keys == ("c",)
    assert Traced.read(path).keys == ()


def test_a_beat_shows_that_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradnoise.training.trace.BEAT_SECONDS", 0.0)
    path = tmp_path / "worker"
    trace = Trace(path)
    beat()  # of no trace
    with trace.training(["a"]):
        os.utime(path, ns=(0, 0))
        beat()
        assert Traced.read(path).beat > 0


def test_a_trial_that_trains_apart_is_alone_in_the_trace_and_has_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    training = Trace.training
    monkeypatch.setattr(
        Trace, "training", lambda self, keys: (seen.append(tuple(keys)), training(self, keys))[1]
    )
    trainer = StackTrainer(3, trace=Trace(tmp_path / "worker"))
    trials = [spec("a", seed=1), spec("b", seed=2, apart=True), spec("c", seed=3)]
    events = run(trainer, *trials)
    assert set(seen) == {("a",), ("b",), ("c",), ("a", "c")}
    for trial in trials:
        assert_same(curve(events, trial.key), alone(trial))
