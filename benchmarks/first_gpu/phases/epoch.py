"""Where an epoch of 1,024 members goes: time in which the GPU computes, and work of the host.

On a CPU a small stack is profiled.
"""

import cProfile
import pstats
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import bench_stack, sides
from benchmarks.first_gpu.running import ROOT, Finding
from benchmarks.harness import Figure
from benchmarks.sides import Case
from gradnoise.training.epochs import n_steps

MEMBERS, FEW_MEMBERS = 1_024, 4
CASE = Case(
    name="20x50 on MNIST", workload="dense", options={"dataset": "mnist", "train_examples": 50_000}
)
SMALL_CASE = Case(
    name="2x8 on digits",
    workload="dense",
    options={"dataset": "digits", "depth": 2, "width": 8, "train_examples": 200},
)
N_EPOCHS = 3
HOST_AT_MOST = 170
"""Milliseconds: a tenth of 500 updates of 1,024 members at 300,000 a second."""
N_SHOWN = 20


def findings() -> Iterator[Finding]:
    is_on_gpu = torch.cuda.is_available()
    case, members = (CASE, MEMBERS) if is_on_gpu else (SMALL_CASE, FEW_MEMBERS)
    if not is_on_gpu:
        yield "no GPU: a small stack trains on the CPU, which is host and device"
    with bench_stack.workloads():
        steps = members * n_steps(case.open())
        sides.train(case, members, 0.0)
        epochs = [steps / sides.train(case, members, 0.0) for _ in range(N_EPOCHS)]
        yield Figure(
            name=f"an epoch of {members:,} members, {steps // members} updates each",
            unit="ms",
            values=[1e3 * seconds for seconds in epochs],
        )
        if is_on_gpu:
            yield from on_gpu(case, members, epochs)
        yield from of_host(case, members)


def on_gpu(case: Case, members: int, epochs: list[float]) -> Iterator[Finding]:
    """Yield the time in which the GPU waits, and the kernels by their time."""
    busy, kernels = sides.kernels(case, members, 0.0)
    yield Figure(
        name="time of an epoch in which the GPU waits for the host",
        unit="ms",
        values=[1e3 * (1 - busy) * seconds for seconds in epochs],
        at_most=HOST_AT_MOST,
    )
    for kernel, n_launches, share in kernels[:N_SHOWN]:
        yield Figure(
            name=f"  {kernel[:80]} ({n_launches:,} launches)",
            unit="% of it",
            values=[100 * share],
        )


def of_host(case: Case, members: int) -> Iterator[Finding]:
    """Yield the functions in which the host spends an epoch, under the profiler."""
    profile = cProfile.Profile()
    profile.runcall(sides.train, case, members, 0.0)
    # (file, line, function): (calls, primitive calls, time within, time with callees, callers)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # the stubs omit it
    rows = sorted(stats.items(), key=lambda row: -row[1][2])
    for (file, line, function), (_, n_calls, seconds, cumulative, _) in rows[:N_SHOWN]:
        place = f"{Path(file).relative_to(ROOT)}:{line} " if file.startswith(f"{ROOT}") else ""
        yield Figure(
            name=f"  host: {place}{function} ({n_calls:,} calls, {1e3 * cumulative:.0f} ms in all)",
            unit="ms",
            values=[1e3 * seconds],
        )
