"""Trials of the probe workload `exact`, and trials trained to their end."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradnoise.training.slots import SlotTrainer
from gradnoise.training.trial import Event, Measurement, TrialSpec


def spec(key: str = "a", **changes: Any) -> TrialSpec:
    return TrialSpec(
        **{"key": key, "workload": "exact", "params": {"lr": 0.05}, "seed": 1, "budget_epochs": 3}
        | changes
    )


def run(trainer: SlotTrainer, *specs: TrialSpec) -> list[Event]:
    """Train the trials to their end and return all events."""
    for one in specs:
        trainer.admit(one)
    events: list[Event] = []
    while latest := trainer.advance():
        events += latest
    return events


def curve(events: Sequence[Event], key: str = "a") -> list[Mapping[str, float]]:
    """Return what was measured of a trial, epoch by epoch."""
    return [event.values for event in events if isinstance(event, Measurement) and event.key == key]
