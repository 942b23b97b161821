"""Trials of the probe workload `exact`, and trials trained to their end."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gradnoise.training.single import SingleTrainer
from gradnoise.training.trainer import Trainer
from gradnoise.training.trial import Event, Measurement, TrialSpec

NOISE: Mapping[str, dict[str, float]] = {
    "none": {},
    "annealed": {"eta": 0.3, "gamma": 0.55},
    "constant": {"std": 0.1},
    "anticorrelated": {"std": 0.1},
    "preconditioned": {"eta": 0.001, "gamma": 0.55, "damping": 0.01},
    "weight_noise": {"eta": 0.01, "gamma": 0.55},
    "dropout": {"rate": 0.3},
}


def spec(key: str = "a", **changes: Any) -> TrialSpec:
    """Return a trial of three epochs; `technique` is a short form of `techniques` with one name."""
    if "technique" in changes:
        changes["techniques"] = (changes.pop("technique"),)
    return TrialSpec(
        **{"key": key, "workload": "exact", "params": {"lr": 0.05}, "seed": 1, "budget_epochs": 3}
        | changes
    )


def run(trainer: Trainer, *specs: TrialSpec) -> list[Event]:
    """Train the trials to their end and return all events."""
    for trial in specs:
        trainer.admit(trial)
    events: list[Event] = []
    while latest := trainer.advance():
        events += latest
    return events


def curve(events: Sequence[Event], key: str = "a") -> list[Mapping[str, float]]:
    """Return the measured values of a trial, epoch by epoch."""
    return [event.values for event in events if isinstance(event, Measurement) and event.key == key]


def alone(trial: TrialSpec) -> list[Mapping[str, float]]:
    """Return the values of a trial in the single trainer; they are kept, as they depend on the spec
    alone.
    """
    if repr(trial) not in _alone:
        _alone[repr(trial)] = curve(run(SingleTrainer(1), trial), trial.key)
    return _alone[repr(trial)]


_alone: dict[str, list[Mapping[str, float]]] = {}


def assert_same(found: list[Mapping[str, float]], expected: list[Mapping[str, float]]) -> None:
    """Compare up to rounding: in float64 about 100 operations of 2^-53 per weight and update, so
    1e-10 over a few dozen updates leaves room for their growth. A wrong order, sign, seed or step
    count changes the second digit.
    """
    assert len(found) == len(expected) > 0
    for values, other in zip(found, expected, strict=True):
        assert values == pytest.approx(other, rel=1e-10, abs=1e-12)
