"""Trials of the probe workload `exact`, and trials trained to their end."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradnoise.training.trainer import Trainer
from gradnoise.training.trial import Event, Measurement, TrialSpec


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
