"""Throughput of stacks against eager processes, and a whole study against Ray Tune.

Throughput is measured in member-steps per second. `python -m benchmarks.bench_stack` measures the
CPU; without Ray it omits the whole study. `--gpu` measures the first GPU, and `python -m
benchmarks.draw_stack` draws the result. Both need only torch. The sides take turns in each round,
and each turn has all cores. A bar applies to the median over the rounds of the ratio of two sides.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import sides
from benchmarks.crew import Crew
from benchmarks.harness import Figure, install, ratios, report
from benchmarks.sides import Case
from benchmarks.workloads import ENTRY_POINTS
from gradnoise.training.calibration import Rate, best, candidates, explore

ROUNDS = 7
TURN_SECONDS = 0.5
EAGER = 0
"""The number of slots that stands for the reference trainer."""

CPU_SLOTS = (1, 2, 4, 8, 16, 32)
CPU_CASES = (
    Case(
        name="20x50 on digits",
        workload="dense",
        options={"dataset": "digits"},
        params={"clip_norm": 10.0},
        at_least=1.5,
        share_at_least=50.0,
    ),
    Case(
        name="20x50 on MNIST",
        workload="dense",
        options={"dataset": "mnist", "train_examples": 2_000},
        params={"clip_norm": 10.0},
        at_least=1.5,
        share_at_least=50.0,
    ),
    Case(
        name="20x256 on MNIST",
        workload="dense",
        options={"dataset": "mnist", "width": 256, "init": "he", "train_examples": 500},
        at_least=0.95,
    ),
    Case(name="convolutions", workload="convolutions", at_least=0.95),
)
FEW, MANY = 64, 1_024
GROWTH_CASE = Case(
    name="20x50 on 400 digits",
    workload="dense",
    options={"dataset": "digits", "train_examples": 400},
)

GPU_SLOTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048)
GPU_CASE = Case(
    name="20x50 on MNIST", workload="dense", options={"dataset": "mnist", "train_examples": 10_000}
)
N_SHARING = (4, 8, 16)
PICKED_AT_LEAST = 300_000
N_KERNELS = 12


def main() -> bool:
    if "--gpu" in sys.argv[1:]:
        if not torch.cuda.is_available():
            raise SystemExit("--gpu needs a GPU that torch sees.")
        with workloads():
            return report("bench_stack", list(on_gpu()), "bench_stack_cuda")
    with workloads(), Crew(os.cpu_count() or 1, {"CUDA_VISIBLE_DEVICES": ""}) as crew:
        figures = [*throughput(crew), *growth(crew)]
    if importlib.util.find_spec("ray") and importlib.util.find_spec("pyarrow"):
        from benchmarks import whole_study

        figures += whole_study.figures()
    else:
        print(
            "Left out, as Ray Tune is not installed (the extra `bench`): the driver's cost, and a "
            "whole study against Ray Tune."
        )
    return report("bench_stack", figures)


@contextmanager
def workloads() -> Iterator[None]:
    """Install the benchmarks' workloads for this process and those that it starts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        sys.path.insert(0, install(Path(folder), "gradnoise_benchmarks", ENTRY_POINTS))
        try:
            yield
        finally:
            sys.path.remove(folder)


def throughput(crew: Crew) -> Iterator[Figure]:
    """Measure stacks of every size, one per core, against one eager process per core."""
    limits = []
    for case in CPU_CASES:
        chosen = picked(crew, case, on_gpu=False)
        rates: dict[int, list[float]] = {slots: [] for slots in sorted({EAGER, *CPU_SLOTS, chosen})}
        limit = []
        for _ in range(ROUNDS):
            limit.append(sum(crew.call(sides.multiply, 1_024, TURN_SECONDS)))
            for slots, in_rounds in rates.items():
                in_rounds.append(sum(crew.call(sides.train, case, slots, TURN_SECONDS)))
        crew.call(sides.forget)
        limits += limit
        name = f"{case.name}: the way picked, against one eager process a core"
        yield Figure(
            name=name, unit="x", values=ratios(rates[chosen], rates[EAGER]), at_least=case.at_least
        )
        yield from parts(case, rates, chosen, limit)
    yield Figure(
        name="limit: products of 1,024 x 1,024 in float32, all cores",
        unit="GFLOP/s",
        values=[rate / 1e9 for rate in limits],
    )


def parts(
    case: Case, rates: dict[int, list[float]], chosen: int, limit: Sequence[float]
) -> Iterator[Figure]:
    """Yield the details of a comparison.

    They are the slots picked, the rate at each number of slots, and the share of the limit that the
    picked stack reaches.

    Args:
        case: What was trained.
        rates: Member-steps per second in each round, by slots.
        chosen: The slots that were picked.
        limit: Floating-point operations per second in each round.
    """
    yield Figure(name="  slots picked", unit="", values=[chosen])
    yield Figure(
        name="  the limit's share that it reaches",
        unit="%",
        values=[100 * x * sides.flops(case) for x in ratios(rates[chosen], limit)],
        at_least=case.share_at_least,
    )
    for slots, in_rounds in rates.items():
        yield Figure(name=rate_name(slots), unit="steps/s", values=in_rounds)


def rate_name(slots: int) -> str:
    return f"  slots: {slots:,}" if slots else "  one eager process a core"


def picked(crew: Crew, case: Case, *, on_gpu: bool) -> int:
    """Return the slots that the calibration of a study on these processes would choose."""

    def on_all(slots: int, _before: Rate | None) -> Rate:
        each = crew.call(sides.measure, case, slots)
        return replace(each[0], steps_per_second=sum(rate.steps_per_second for rate in each))

    rates = {rate.slots: rate for rate in explore(candidates(on_gpu=on_gpu), on_all)}
    crew.call(sides.forget)
    return best(rates.values()).slots


def growth(crew: Crew) -> Iterator[Figure]:
    """Compare the time of a member-step in a large stack with that in a small stack."""
    rates: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(3):
        for slots, in_rounds in rates.items():
            in_rounds.append(sum(crew.call(sides.train, GROWTH_CASE, slots, 2.0)))
    crew.call(sides.forget)
    yield Figure(name=growth_name(), unit="x", values=ratios(rates[FEW], rates[MANY]), at_most=1.5)


def growth_name() -> str:
    return f"time of a member-step at {MANY:,} slots against {FEW}"


def on_gpu(n_rounds: int = ROUNDS) -> Iterator[Figure]:
    """Measure stacks of every size on one GPU.

    They are compared with one eager process, and with several that share the GPU.
    """
    with Crew(max(N_SHARING)) as eager, Crew(1) as stack:
        chosen = picked(stack, GPU_CASE, on_gpu=True)
        taken = {slots: stack.call(sides.memory, GPU_CASE, slots)[0] for slots in GPU_SLOTS}
        shared: dict[int, list[float]] = {n: [] for n in (1, *N_SHARING)}
        rates: dict[int, list[float]] = {slots: [] for slots in sorted({*GPU_SLOTS, chosen})}
        limit = []
        for _ in range(n_rounds):
            limit += stack.call(sides.multiply, 8_192, TURN_SECONDS)
            for n, in_rounds in shared.items():
                found = eager.call(sides.train, GPU_CASE, EAGER, 2 * TURN_SECONDS, n=n)
                in_rounds.append(sum(found))
            for slots, in_rounds in rates.items():
                in_rounds += stack.call(sides.train, GPU_CASE, slots, 2 * TURN_SECONDS)
        busy, kernels = stack.call(sides.kernels, GPU_CASE, chosen, TURN_SECONDS)[0]
    best_shared = [max(values) for values in zip(*(shared[n] for n in N_SHARING), strict=True)]
    yield Figure(
        name="the way picked", unit="steps/s", values=rates[chosen], at_least=PICKED_AT_LEAST
    )
    yield Figure(
        name="the way picked, against one eager process",
        unit="x",
        values=ratios(rates[chosen], shared[1]),
        at_least=200,
    )
    name = (
        f"the way picked, against the best of {', '.join(map(str, N_SHARING))} eager processes "
        "that share the GPU"
    )
    yield Figure(name=name, unit="x", values=ratios(rates[chosen], best_shared), at_least=15.1)
    yield from parts(GPU_CASE, rates, chosen, limit)
    for n, in_rounds in shared.items():
        yield Figure(name=sharing_name(n), unit="steps/s", values=in_rounds)
    yield Figure(
        name="limit: products of 8,192 x 8,192 in float32",
        unit="GFLOP/s",
        values=[rate / 1e9 for rate in limit],
    )
    yield Figure(name=growth_name(), unit="x", values=ratios(rates[FEW], rates[MANY]), at_most=1.5)
    for slots, n_bytes in taken.items():
        yield Figure(name=f"  memory for {slots:,} slots", unit="MB", values=[n_bytes / 1e6])
    yield Figure(
        name="share of the time in which the GPU computes, the way picked",
        unit="%",
        values=[100 * busy],
    )
    for kernel, n_launches, share in kernels[:N_KERNELS]:
        yield Figure(
            name=f"  {kernel[:80]} ({n_launches:,} launches)", unit="% of it", values=[100 * share]
        )


def sharing_name(n: int) -> str:
    return f"  {n} eager processes" if n > 1 else "  one eager process"


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
