"""Faults made on purpose: memory runs out, captures fail, the noise kernel cannot be built.

Each drill is a process of its own, because some leave CUDA in a faulty state.
"""

import dataclasses
import gc
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from benchmarks import bench_stack
from benchmarks.crew import on_each
from benchmarks.first_gpu.running import Finding, logged
from benchmarks.harness import Figure
from gradnoise._noise import Noise
from gradnoise.training import device
from gradnoise.training.graphs import CaptureError
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import Event, Failed, Measurement, TrialSpec

SHARE_OF_PEAK = 0.7
"""The memory that a stack may use, of what it would use: it trains in parts."""
STACK_AT_MOST = 1e-3
"""Of a loss: stacks of other sizes sum in another order."""


def findings() -> Iterator[Finding]:
    is_on_gpu = torch.cuda.is_available()
    if not is_on_gpu:
        yield "no GPU: memory is not limited, and nothing is captured"
    names = DRILLS if is_on_gpu else ("a loss that copies from the host",)
    with bench_stack.workloads():
        for name, found in on_each(drill, names, len(names)):
            if isinstance(found, RuntimeError):  # the process ended
                yield f"{name}: {found}"
                found = [Figure(name=f"{name}: errors", unit="", values=[1.0], at_most=0)]
            yield from found


def drill(name: str) -> list[Finding]:
    """Return what a drill finds, with the drill's name before each finding."""
    found: list[Finding] = []
    try:
        found += DRILLS[name]()
    except Exception as error:
        found += [
            "".join(traceback.format_exception(error)),
            Figure(name="errors", unit="", values=[1.0], at_most=0),
        ]
    return [
        dataclasses.replace(each, name=f"{name}: {each.name}")
        if isinstance(each, Figure)
        else f"{name}: {each}"
        for each in found
    ]


def out_of_memory() -> Iterator[Finding]:
    """Train with all memory, then with less than the stack needs."""
    specs = trials("dense", 512, {"dataset": "mnist", "train_examples": 10_000})
    whole = train(StackTrainer(len(specs), device()), specs)
    peak = torch.cuda.max_memory_reserved()
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(SHARE_OF_PEAK * peak / total)
    with logged() as records:
        parts = train(StackTrainer(len(specs), device()), specs)
    yield from records
    yield Figure(
        name="warnings that memory does not hold the stack",
        unit="",
        values=[sum("Memory does not hold" in record for record in records)],
        at_least=1,
    )
    yield from same_losses(parts, whole, STACK_AT_MOST)


def host_copy() -> Iterator[Finding]:
    """Train a workload that cannot be captured, then one that can, in the same process."""
    specs = trials("host-copy", 4)
    stack = StackTrainer(len(specs), device())
    with logged() as records:
        found = train(stack, specs)
    yield from records
    yield Figure(
        name="forms that train eagerly, with the reason",
        unit="",
        values=[len(stack.eager)],
        at_least=1 if torch.cuda.is_available() else 0,
    )
    expected = train(StackTrainer(len(specs), device(), eager="it is the reference."), specs)
    yield from same_losses(found, expected, 0.0)
    specs = trials("dense", 4, {"dataset": "digits", "train_examples": 400})
    stack = StackTrainer(len(specs), device())
    yield from same_losses(
        train(stack, specs),
        train(StackTrainer(len(specs), device(), eager="it is the reference."), specs),
        1e-5,
    )
    yield Figure(name="forms eager after that", unit="", values=[len(stack.eager)], at_most=0)


def broken_capture() -> Iterator[Finding]:
    """Break a capture off: the trainer must report that the process is not sound."""
    specs = trials("broken-capture", 4)
    stack = StackTrainer(len(specs), device())
    is_reported = False
    try:
        train(stack, specs)
    except CaptureError as error:
        is_reported = True
        yield f"{error}"
    yield from stack.eager.values()
    yield Figure(
        name="reported (1: yes)",
        unit="",
        values=[float(is_reported or bool(stack.eager))],
        at_least=1,
    )


def no_compiler() -> Iterator[Finding]:
    """Draw noise on the GPU where Triton finds no C compiler and has compiled nothing before."""
    shapes = {"w": (300, 7)}
    found, expected = (torch.zeros(shapes["w"], device=place) for place in (device(), "cpu"))
    Noise(1, shapes).add_([expected], 3, 0.5)
    with tempfile.TemporaryDirectory() as folder, logged() as records:
        os.environ.update(CC=f"{folder}/no-compiler", TRITON_CACHE_DIR=folder)
        Noise(1, shapes).add_([found], 3, 0.5)
    yield from records
    yield Figure(name="warnings", unit="", values=[len(records)], at_least=1)
    difference = float((found.cpu() - expected).abs().max())
    yield Figure(name="difference from the CPU's noise", unit="", values=[difference], at_most=0)


DRILLS: Mapping[str, Callable[[], Iterator[Finding]]] = {
    "out of memory": out_of_memory,
    "a loss that copies from the host": host_copy,
    "a capture that breaks off": broken_capture,
    "no compiler for the noise kernel": no_compiler,
}


def trials(workload: str, n: int, options: Mapping[str, object] = {}) -> list[TrialSpec]:
    """Return trials of two epochs of twenty updates."""
    return [
        TrialSpec(
            key=f"{seed}",
            workload=workload,
            options=options,
            params={"lr": 0.01},
            seed=seed,
            budget_epochs=2,
            report_every=20,
        )
        for seed in range(n)
    ]


def train(trainer: StackTrainer, specs: Sequence[TrialSpec]) -> list[Event]:
    for spec in specs:
        trainer.admit(spec)
    events: list[Event] = []
    while latest := trainer.advance():
        events += latest
    return events


def same_losses(
    found: Sequence[Event], expected: Sequence[Event], at_most: float
) -> Iterator[Finding]:
    """Compare the training losses of each trial and epoch, relative to the losses."""
    losses, others = (
        {
            (event.key, event.epoch): event.values["train_loss"]
            for event in events
            if isinstance(event, Measurement)
        }
        for events in (found, expected)
    )
    failed = [event for event in found if isinstance(event, Failed)]
    yield from {event.summary for event in failed}
    missing = len(failed) + len(others.keys() - losses.keys())
    yield Figure(name="epochs that are missing", unit="", values=[missing], at_most=0)
    differences = [
        abs(losses[key] - other) / abs(other) for key, other in others.items() if key in losses
    ]
    yield Figure(
        name="largest difference of a training loss",
        unit="of it",
        values=[max(differences, default=float("inf"))],
        at_most=at_most,
    )
