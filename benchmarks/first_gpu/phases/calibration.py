"""What calibration estimates, against what training takes: memory, and the time to measure it."""

import time
from collections.abc import Iterator

import torch

from benchmarks import bench_stack, sides
from benchmarks.crew import Crew
from benchmarks.first_gpu.running import Finding
from benchmarks.harness import Figure
from benchmarks.sides import Case
from gradnoise.training.calibration import MARGIN

CASES = (
    (bench_stack.GPU_CASE, (16, 256, 1_024)),
    (Case(name="convolutions", workload="convolutions"), (16, 128)),
)
SMALL_CASES = ((bench_stack.GROWTH_CASE, (2,)),)


def findings() -> Iterator[Finding]:
    is_on_gpu = torch.cuda.is_available()
    if not is_on_gpu:
        yield "no GPU: the memory is that of the process"
    with bench_stack.workloads():
        for case, sizes in CASES if is_on_gpu else SMALL_CASES:
            with Crew(1) as crew:
                for slots in sizes:
                    yield from of_stack(crew, case, slots, has_bar=is_on_gpu)


def of_stack(crew: Crew, case: Case, slots: int, *, has_bar: bool) -> Iterator[Figure]:
    """Compare the bytes that a measurement of a stack estimates with those that training takes."""
    name = f"{case.name}, {slots:,} slots"
    start = time.perf_counter()
    (rate,) = crew.call(sides.measure, case, slots)
    seconds = time.perf_counter() - start
    crew.call(sides.forget)
    (taken,) = crew.call(sides.memory, case, slots)
    crew.call(sides.forget)
    estimated = rate.bytes_per_slot * slots
    yield Figure(name=f"{name}: estimated", unit="MB", values=[estimated / 1e6])
    yield Figure(name=f"{name}: taken", unit="MB", values=[taken / 1e6])
    yield Figure(
        name=f"{name}: taken, of the estimate",
        unit="",
        values=[taken / estimated],
        at_most=1 / MARGIN if has_bar else None,
    )
    yield Figure(name=f"{name}: time to measure it", unit="s", values=[seconds])
