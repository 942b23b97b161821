"""The cost of noise: drawing and adding it compared with torch, and steps with and without noise.

`python -m benchmarks.bench_noise` measures the CPU, `--gpu` the first GPU. It requires only torch
(and numba, or Triton on a GPU). The sides alternate within each round, and their ratio is reported.
So is the limit set by memory: a single pass that reads and writes the gradient.
"""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional

import gradnoise
from benchmarks.harness import Figure, ratios, report, side_by_side
from gradnoise._noise import Noise

STD = 0.1
MLP = [784, 2_048, 2_048, 2_048, 10]
ANNEALED = {"eta": 1e-6, "seed": 1}
MEASURED = {"eta": 1e-6, "seed": 2, "measure_ratio": True}
PRECONDITIONED = {"process": gradnoise.preconditioned(eta=1e-6, gamma=0.55), "seed": 3}


def main() -> bool:
    if "--gpu" in sys.argv[1:]:
        if not torch.cuda.is_available():
            raise SystemExit("--gpu needs a GPU that torch sees.")
        return report("bench_noise", on_gpu(), "bench_noise_cuda")
    before = torch.get_num_threads()
    try:
        return report(
            "bench_noise", [*drawing(), *second_core(), *attached(), *options(), first_step()]
        )
    finally:
        torch.set_num_threads(before)


def drawing() -> Iterator[Figure]:
    """Compare drawing and adding on a single core with `flat.normal_()` and an addition."""
    torch.set_num_threads(1)
    for n, bar in ((100_000, 2.0), (1_000_000, 4.0), (10_000_000, 4.0)):
        gradient, flat = torch.zeros(n), torch.empty(n)
        sides = {
            "ours": adding(gradient),
            "normal_() + add": partial(add_normal, gradient, flat),
            "limit: read and write": partial(one_pass, gradient),
        }
        times = dict(zip(sides, side_by_side(*sides.values()), strict=True))
        speedups = ratios(times["normal_() + add"], times["ours"])
        yield Figure(
            name=f"{n:,} numbers, 1 core: times as fast as normal_() + add",
            unit="x",
            values=speedups,
            at_least=bar,
        )
        for name, rounds in times.items():
            yield Figure(
                name=f"  {name}", unit="ns/number", values=[seconds / n * 1e9 for seconds in rounds]
            )


def second_core() -> Iterator[Figure]:
    """Compare drawing and adding on two cores with a single core."""
    for n in (1_000_000, 10_000_000):
        add = adding(torch.zeros(n))
        single, double = side_by_side(partial(on_cores, 1, add), partial(on_cores, 2, add))
        yield Figure(
            name=f"{n:,} numbers, 2 cores: times as fast as 1",
            unit="x",
            values=ratios(single, double),
            at_least=1.2,
        )


def attached() -> Iterator[Figure]:
    """Compare an eager SGD step with noise attached with the same step without noise."""
    for name, widths, batch, n_threads, bar in (
        ("20 x 50 network, batch 100, 1 core", [784, *[50] * 20, 10], 100, 1, 10.0),
        ("10M-parameter MLP, batch 128, 2 cores", MLP, 128, 2, None),
        ("10M-parameter MLP, batch 512, 2 cores", MLP, 512, 2, 5.0),
    ):
        torch.set_num_threads(n_threads)
        bare, noisy = side_by_side(
            step(widths, batch, {}), step(widths, batch, ANNEALED), seconds=1.5
        )
        overhead = [100 * (ratio - 1) for ratio in ratios(noisy, bare)]
        yield Figure(
            name=f"{name}: the noise's share of a step", unit="%", values=overhead, at_most=bar
        )
        yield Figure(name="  bare step", unit="ms", values=[seconds * 1e3 for seconds in bare])


def options() -> Iterator[Figure]:
    """Compare updates that measure the ratio or precondition the noise with annealed noise."""
    for name, make, n_threads in (
        ("update of 1,000 parameters of 64, 1 core", partial(update, [(64,)] * 1_000), 1),
        ("step of a 10M-parameter MLP, batch 128, 2 cores", partial(step, MLP, 128), 2),
    ):
        torch.set_num_threads(n_threads)
        bare, annealed, ratio, preconditioned = side_by_side(
            *map(make, ({}, ANNEALED, MEASURED, PRECONDITIONED)), seconds=0.5
        )
        yield Figure(
            name=f"{name}: more time with measure_ratio than without",
            unit="%",
            values=[100 * (each - 1) for each in ratios(ratio, annealed)],
            at_most=5.0,
        )
        sides = zip(preconditioned, annealed, bare, strict=True)
        yield Figure(
            name=f"{name}: cost of preconditioned noise against that of annealed noise",
            unit="x",
            values=[(noisy - without) / (plain - without) for noisy, plain, without in sides],
            at_most=3.0,
        )
        yield Figure(name="  without noise", unit="ms", values=[each * 1e3 for each in bare])


def first_step() -> Figure:
    """Time the first update with noise in new processes, whose machine code is cached on disk."""
    program = (
        "import time, torch, gradnoise;"
        "w = torch.nn.Parameter(torch.zeros(100)); o = torch.optim.SGD([w]);"
        "w.grad = torch.zeros(100); o.step(); gradnoise.attach(o, eta=0.1, seed=0);"
        "start = time.process_time(); o.step(); print(time.process_time() - start)"
    )
    seconds = [
        float(
            subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
        )
        for _ in range(6)
    ]
    return Figure(name="first update of a process, cached code", unit="s", values=seconds[1:])


def on_gpu() -> Iterator[Figure]:
    """Compare drawing and adding on a GPU with a single pass over the gradient."""
    for n in (10_000_000, 100_000_000):
        gradient = torch.zeros(n, device="cuda")
        noise, limit = side_by_side(adding(gradient), partial(one_pass, gradient))
        yield Figure(
            name=f"{n:,} numbers on a GPU: time against g.mul_()",
            unit="x",
            values=ratios(noise, limit),
            at_most=1.5,
        )
    shapes = {f"{i}": (256, 256) for i in range(200)}
    tensors = [torch.zeros(shape, device="cuda") for shape in shapes.values()]
    many = Noise(1, shapes)
    many.add_(tensors, 0, STD)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        many.add_(tensors, 1, STD)
    n_launches = sum(
        event.count
        for event in profile.key_averages()
        if "_add" in event.key and "elementwise" not in event.key
    )
    yield Figure(
        name="launches of the kernel for 200 parameters",
        unit="",
        values=[n_launches],
        at_least=1,
        at_most=1,
    )


def adding(gradient: torch.Tensor) -> Callable[[], None]:
    noise = Noise(1, {"w": gradient.shape})
    steps = itertools.count()
    return lambda: noise.add_([gradient], next(steps), STD)


def add_normal(gradient: torch.Tensor, flat: torch.Tensor) -> None:
    gradient.add_(flat.normal_(), alpha=STD)


def one_pass(gradient: torch.Tensor) -> None:
    gradient.mul_(1.0)


def on_cores(n: int, add: Callable[[], None]) -> None:
    torch.set_num_threads(n)
    add()


def update(shapes: list[tuple[int, ...]], noise: dict[str, Any]) -> Callable[[], None]:
    """Return an update of SGD on gradients that are new at each update, as after zero_grad()."""
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    gradients = [torch.ones(shape) for shape in shapes]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    if noise:
        gradnoise.attach(optimizer, **noise)

    def run() -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.detach()
        optimizer.step()

    return run


def step(widths: list[int], batch: int, noise: dict[str, Any]) -> Callable[[], None]:
    torch.manual_seed(0)
    layers = [
        layer
        for pair in itertools.pairwise(widths)
        for layer in (torch.nn.Linear(*pair), torch.nn.ReLU())
    ][:-1]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=1e-3)
    inputs, labels = torch.rand(batch, widths[0]), torch.randint(widths[-1], (batch,))
    if noise:
        gradnoise.attach(optimizer, **noise)

    def run() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return run


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
