"""What the host does in an epoch of a stack beside the updates.

It makes the tables of the noise, hands over the order of the examples, copies the members' states
to and from the stack and reports their values. `python -m benchmarks.bench_host` measures it
without a GPU: the tensors of the device are on torch's `meta` device, which has their operations
without their numbers, and an update does nothing. Times are CPU time of the trainer's thread.
While a GPU trains, other threads make the orders of the next epoch: they are awaited before that
epoch, and measured by themselves.
"""

import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import torch

from benchmarks.bench_stack import workloads
from benchmarks.harness import Figure, ratios, report
from benchmarks.sides import Case, members
from gradnoise.training.epochs import Order, n_steps
from gradnoise.training.setup import prepare
from gradnoise.training.stack import StackTrainer
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import form_of
from gradnoise.training.templates import StackedRuns, Template
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise.workloads import Workload

ROUNDS, SAMPLE = 7, 16
SLOTS = (64, 256, 1_024)
MEMBER_STEPS_PER_SECOND = 300_000
"""The rate of the goal for a GPU."""
MOST_MS, MOST_PERCENT = 170, 10
CASE = Case(name="20x50 on MNIST", workload="dense", options={"dataset": "mnist"})
DEVICE = torch.device("meta")


def main() -> bool:
    with workloads(), on_no_device():
        figures = list(measured())
    return report("bench_host", figures)


@contextmanager
def on_no_device() -> Iterator[None]:
    """Make updates do nothing within the context, and all numbers that the device gives 1."""
    with (
        mock.patch.object(StackedModel, "update", _no_update),
        mock.patch.object(StackedModel, "read", _ones),
        # there are no numbers to compare
        mock.patch.object(Template, "gives", return_value=True),
    ):
        yield


def _no_update(_model: StackedModel, _i: int) -> None:
    """Do nothing; a Mock would take time to record each call."""


def _ones(
    model: StackedModel,
) -> tuple[list[bool], list[float], list[float], list[dict[str, float]]]:
    n = len(model.weights)
    metrics = {"validation_accuracy": 1.0, "validation_loss": 1.0}
    return [True] * n, [1.0] * n, [1.0] * n, [dict(metrics) for _ in range(n)]


def measured() -> Iterator[Figure]:
    """Measure epochs of every number of slots in turn, openings of trials, and orders."""
    trainers = {slots: opened(slots) for slots in SLOTS}
    times: dict[int, list[float]] = {slots: [] for slots in SLOTS}
    for _ in range(ROUNDS):
        for slots, trainer in trainers.items():
            await_orders(trainer)
            times[slots].append(1e3 * timed(functools.partial(epoch, trainer)))
    largest = SLOTS[-1]
    for slots, in_rounds in times.items():
        bar = MOST_MS if slots == largest else None
        yield Figure(
            name=f"host time of an epoch of {slots:,} members",
            unit="ms",
            values=in_rounds,
            at_most=bar,
        )
    workload = CASE.open()
    of_epoch = 1e3 * largest * n_steps(workload) / MEMBER_STEPS_PER_SECOND
    yield Figure(
        name=f"  its share at {largest:,} members and {MEMBER_STEPS_PER_SECOND:,} member-steps/s",
        unit="%",
        values=[100 * value / of_epoch for value in times[largest]],
        at_most=MOST_PERCENT,
    )
    yield Figure(
        name=f"  host time of a member at {largest:,} members against {SLOTS[0]}",
        unit="x",
        values=[ratio * SLOTS[0] / largest for ratio in ratios(times[largest], times[SLOTS[0]])],
    )
    runs, few = StackedRuns(DEVICE), members(CASE, SAMPLE)
    open_trials(runs, few)
    make = functools.partial(make_orders, workload, SAMPLE)
    for name, function in (
        ("opening a trial", functools.partial(open_trials, runs, few)),
        ("the order of a member's epoch, made ahead by another thread", make),
    ):
        times_of_one = [1e3 * timed(function) / SAMPLE for _ in range(ROUNDS)]
        yield Figure(name=name, unit="ms", values=times_of_one)


def opened(slots: int) -> StackTrainer:
    """Return a trainer that has trained an epoch of so many trials."""
    specs = members(CASE, slots)
    trainer, setup = StackTrainer(slots, DEVICE), prepare(specs[0])
    assert isinstance(setup.workload, Workload)
    trainer.refusals[form_of(setup, setup.workload)] = ""  # the check needs numbers
    for spec in specs:
        trainer.admit(spec)
    epoch(trainer)
    return trainer


def open_trials(runs: StackedRuns, specs: Sequence[TrialSpec]) -> None:
    """Open trials for a stack."""
    for spec in specs:
        setup = prepare(spec)
        assert isinstance(setup.workload, Workload)
        runs.open(setup, setup.workload)


def epoch(trainer: StackTrainer) -> None:
    """Train an epoch of every member."""
    events = trainer.advance()
    if len(events) < trainer.slots or not all(isinstance(event, Measurement) for event in events):
        raise RuntimeError(f"every member should have trained, but got {events[:3]}")


def await_orders(trainer: StackTrainer) -> None:
    """Wait until the order of each member's next epoch is made."""
    for member in trainer._members.values():
        run = member.run
        run.order.of(run.epoch)  # type: ignore[union-attr]


def make_orders(workload: Workload, n: int) -> None:
    """Make the order of an epoch of n trials."""
    for seed in range(n):
        Order(workload, CASE.spec("a", "none", seed)).of(1)


def timed(function: Callable[[], object]) -> float:
    """Return the CPU time of this thread in a call, in seconds."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
