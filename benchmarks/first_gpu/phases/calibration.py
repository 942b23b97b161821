"""The memory that calibration estimates for stacks, what they take, and how long it measures."""

import time
from collections.abc import Iterator, Sequence

import torch

from benchmarks import bench_stack
from benchmarks.crew import Crew
from benchmarks.first_gpu.running import Finding
from benchmarks.harness import Figure
from benchmarks.sides import Case
from gradnoise.training.calibration import MARGIN, MemoryEstimate, estimates

CASES = (
    (bench_stack.GPU_CASE, (16, 64, 256, 1_024)),
    (Case(name="convolutions", workload="convolutions"), (16, 64, 128)),
)
SMALL_CASES = ((bench_stack.GROWTH_CASE, (2, 4)),)


def findings() -> Iterator[Finding]:
    is_on_gpu = torch.cuda.is_available()
    if not is_on_gpu:
        yield "no GPU: the memory is that of the process"
    with bench_stack.workloads():
        for case, sizes in CASES if is_on_gpu else SMALL_CASES:
            with Crew(1) as crew:
                ((found, seconds),) = crew.call(estimated, case, sizes)
            for each in found:
                yield from figures(case, each, has_bar=is_on_gpu)
            yield Figure(
                name=f"{case.name}: time to measure up to {sizes[-1]:,} slots",
                unit="s",
                values=[seconds],
            )


def estimated(case: Case, sizes: Sequence[int]) -> tuple[list[MemoryEstimate], float]:
    start = time.perf_counter()
    found = list(estimates(case.spec("calibration", "annealed", 0), sizes))
    return found, time.perf_counter() - start


def figures(case: Case, estimate: MemoryEstimate, *, has_bar: bool) -> Iterator[Figure]:
    """Yield what the slots were estimated to need, what they took, and the ratio.

    The bar is the share of the free memory that is left over for errors of the estimate.
    """
    name = f"{case.name}, {estimate.slots:,} slots"
    yield Figure(name=f"{name}: estimated", unit="MB", values=[estimate.estimated / 1e6])
    yield Figure(name=f"{name}: taken", unit="MB", values=[estimate.real / 1e6])
    yield Figure(
        name=f"{name}: taken, of the estimate",
        unit="",
        values=[estimate.real / estimate.estimated],
        at_most=1 / MARGIN if has_bar else None,
    )
