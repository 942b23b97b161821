"""Trials trained to their end, and comparisons of their results."""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trainer import Trainer
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec

Curve = Sequence[Mapping[str, float]]
"""The measured values of a trial, epoch by epoch."""

OpenTrainer = Callable[[Checkpoints | None], Trainer]
TRAINERS: Mapping[str, OpenTrainer] = {
    "the single trainer": lambda checkpoints: SingleTrainer(4, checkpoints=checkpoints),
    "the stacked trainer": lambda checkpoints: StackTrainer(4, checkpoints=checkpoints),
}


def train(trainer: Trainer, *specs: TrialSpec) -> dict[str, Curve]:
    """Train trials to their end and return their curves by key.

    Raises:
        AssertionError: If a trial fails or diverges.
    """
    for spec in specs:
        trainer.admit(spec)
    curves: dict[str, list[Mapping[str, float]]] = {spec.key: [] for spec in specs}
    while events := trainer.advance():
        for event in events:
            _record(curves, event)
    return dict(curves)


def check_equal_trials(spec: TrialSpec) -> None:
    """Check that a trial's results depend on its spec alone, and that it leaves the global
    generators of its caller unchanged.
    """
    for name, opened in TRAINERS.items():
        torch.manual_seed(1)
        first = train(opened(None), spec)[spec.key]
        torch.manual_seed(2)
        before = torch.get_rng_state()
        again = train(opened(None), spec)[spec.key]
        assert torch.equal(before, torch.get_rng_state()), (
            f"the trial changes the global generator of its caller in {name}."
        )
        assert_same(again, first, f"two runs of the same trial differ in {name}")
        other = train(opened(None), dataclasses.replace(spec, seed=spec.seed + 1))[spec.key]
        assert _differ(first, other), f"the seed has no effect on the results in {name}."


def check_stack(spec: TrialSpec, rtol: float, n_neighbours: int = 2) -> None:
    """Check that the stacked trainer gives the results of the single trainer, and that it does
    train the trial in a stack.
    """
    stack = StackTrainer(4)
    neighbours = [_neighbour(spec, k) for k in range(n_neighbours)]
    found = train(stack, spec, *neighbours)
    reasons = {reason for reason in stack.refusals.values() if reason}
    assert stack.refusals, f"{spec.workload} declares that it does not stack."
    assert not reasons, f"{spec.workload} does not stack: {' '.join(reasons)}"
    for trial in (spec, *neighbours):
        expected = train(SingleTrainer(1), trial)[trial.key]
        assert_close(found[trial.key], expected, rtol, "in a stack and alone the trial differs")


def check_neighbours(spec: TrialSpec, *others: TrialSpec) -> None:
    """Check that neighbours in the stack change no bit of a trial's results."""
    alone = train(StackTrainer(4), spec)[spec.key]
    neighbours = [dataclasses.replace(other, key=f"other {k}") for k, other in enumerate(others)]
    for beside in ([_neighbour(spec, 0)], neighbours):
        found = train(StackTrainer(4), *beside, spec)[spec.key]
        assert_same(found, alone, "a neighbour in the stack changes the trial's results")


def check_resume(spec: TrialSpec, rtol: float) -> None:
    """Check that a trial resumed from a checkpoint, by either trainer, gives the results of an
    uninterrupted one.
    """
    trial = dataclasses.replace(spec, checkpoint="trial", budget_epochs=max(2, spec.budget_epochs))
    expected = train(SingleTrainer(1), trial)[trial.key]
    for before, opened_before in TRAINERS.items():
        for after, opened_after in TRAINERS.items():
            with tempfile.TemporaryDirectory() as folder:
                checkpoints = Checkpoints(url=folder, every_seconds=0.0)
                interrupted = opened_before(checkpoints)
                interrupted.admit(trial)
                interrupted.advance()
                found = train(opened_after(checkpoints), trial)[trial.key]
                interrupted.release(trial.key)
            assert_close(
                found,
                expected,
                rtol,
                f"started by {before} and resumed by {after} the trial differs",
            )


def assert_same(found: Curve, expected: Curve, problem: str) -> None:
    """Raise AssertionError unless two curves are equal to the bit."""
    for epoch, (values, others) in enumerate(zip(found, expected, strict=True), start=1):
        assert dict(values) == dict(others), (
            f"{problem}: after epoch {epoch} got {dict(values)}, expected {dict(others)}."
        )


def assert_close(found: Curve, expected: Curve, rtol: float, problem: str) -> None:
    """Raise AssertionError unless two curves agree up to a relative tolerance."""
    for epoch, (values, others) in enumerate(zip(found, expected, strict=True), start=1):
        assert values.keys() == others.keys(), (
            f"{problem}: after epoch {epoch} got the values {sorted(values)}, expected "
            f"{sorted(others)}."
        )
        for name, value in values.items():
            assert math.isclose(value, others[name], rel_tol=rtol, abs_tol=rtol), (
                f"{problem}: after epoch {epoch} {name} is {value!r}, expected {others[name]!r} "
                f"up to {rtol:g}."
            )


def _record(curves: dict[str, list[Mapping[str, float]]], event: Event) -> None:
    match event:
        case Measurement():
            curves[event.key].append(event.values)
        case Failed():
            raise AssertionError(f"the trial {event.key!r} failed:\n{event.error}")
        case Finished(diverged=True):
            raise AssertionError(
                f"the trial {event.key!r} diverged: choose hyperparameters with which it trains."
            )


def _neighbour(spec: TrialSpec, k: int) -> TrialSpec:
    """Return a trial like this one with another seed."""
    return dataclasses.replace(spec, key=f"neighbour {k}", seed=spec.seed + 1 + k)


def _differ(first: Curve, other: Curve) -> bool:
    return any(dict(values) != dict(others) for values, others in zip(first, other, strict=True))
