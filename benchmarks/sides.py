"""What a side of a comparison does in its process: train members, multiply matrices, tell of memory
and kernels.
"""

import gc
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler
from torch.utils.flop_counter import FlopCounterMode

from gradnoise.training import Trainer, open_trainer
from gradnoise.training.calibration import Measurer, Rate
from gradnoise.training.epochs import n_steps
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise.workloads import Dropout, Workload
from gradnoise.workloads.registry import WORKLOADS

EPOCHS = 1_000_000  # more than any side trains
PARAMS = {"none": {"lr": 0.001}, "annealed": {"lr": 0.001, "eta": 0.01, "gamma": 0.55}}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained, by every side alike: half of the members with annealed noise.

    Args:
        name: As the figures name it.
        workload: One of benchmarks/workloads.py.
        options: Its options.
        optimizer: By which it is trained, `sgd` or `adam`.
        params: Hyperparameters beside those in PARAMS, or in their place.
        at_least: How many times as fast as an eager process the way that is picked must be.
    """

    name: str
    workload: str
    options: Mapping[str, object] = field(default_factory=dict)
    optimizer: str = "sgd"
    params: Mapping[str, Any] = field(default_factory=dict)
    at_least: float | None = None

    def spec(self, key: str, technique: str, seed: int) -> TrialSpec:
        return TrialSpec(
            key=key,
            workload=self.workload,
            options=self.options,
            techniques=(technique,),
            optimizer=self.optimizer,
            params={**PARAMS[technique], **self.params},
            seed=seed,
            budget_epochs=EPOCHS,
        )

    def open(self) -> Workload:
        declared = WORKLOADS.find(self.workload)
        assert isinstance(declared, type)
        return declared(
            self.options,
            {
                one.name: self.params[one.name]
                for one in declared.parameters
                if one.name in self.params
            },
        )


_trainers: dict[tuple[str, int], list[Trainer]] = {}
_measurers: dict[str, Measurer] = {}
_loops: dict[str, list[Iterator[Mapping[str, float]]]] = {}


def train(case: Case, slots: int, seconds: float) -> float:
    """Train the members for about so long, in whole epochs, and return the member-steps a second;
    first one epoch unmeasured.

    Args:
        case: What is trained.
        slots: Members that train as one model; 0 for the reference trainer, which trains each
            alone.
        seconds: How long; at least one epoch.
    """
    trainers = _trainers.get((case.name, slots)) or _open(case, slots)
    start, n_epochs = time.perf_counter(), 0
    while n_epochs == 0 or time.perf_counter() - start < seconds:
        n_epochs += sum(_epoch(trainer) for trainer in trainers)
    return n_epochs * n_steps(case.open()) / (time.perf_counter() - start)


def _open(case: Case, slots: int) -> list[Trainer]:
    """Open the side, and train it by an epoch; what trains one by one is two trainers, with noise
    and without.
    """
    specs = members(case, max(2, slots))
    if slots > 1:
        trainers = [open_trainer(slots)]
    else:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        trainers = [open_trainer(1) if slots else SingleTrainer(1, device) for _ in specs]
    for spec, trainer in zip(specs, itertools.cycle(trainers)):
        trainer.admit(spec)
    for trainer in trainers:
        _epoch(trainer)
    _trainers[case.name, slots] = trainers
    return trainers


def train_plainly(case: Case, seconds: float) -> float:
    """Train two members as `train` does, but in a loop that knows nothing of us, and return the
    member-steps a second.
    """
    if case.name not in _loops:
        _loops[case.name] = [plain_loop(case, is_noisy=is_noisy) for is_noisy in (False, True)]
        for loop in _loops[case.name]:
            next(loop)
    start, n_epochs = time.perf_counter(), 0
    while n_epochs == 0 or time.perf_counter() - start < seconds:
        for loop in _loops[case.name]:
            next(loop)
            n_epochs += 1
    return n_epochs * n_steps(case.open()) / (time.perf_counter() - start)


def plain_loop(case: Case, *, is_noisy: bool) -> Iterator[Mapping[str, float]]:
    """Train the case's model as one writes it in PyTorch alone, and yield what an epoch gave.

    Model, initial weights, loss, optimizer, clipping, noise and metrics are those of `train`; what
    is random is torch's own.
    """
    workload, params = case.open(), {**PARAMS["annealed"], **case.params}
    data, model = workload.data(), with_torch_dropout(workload.model())
    workload.initialise(model, 0)
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.optimizer]
    optimizer, t = make(model.parameters(), lr=params["lr"]), 0
    while True:
        model.train()
        losses = []
        for rows in torch.randperm(len(data.train[0])).split(workload.batch_size)[
            : n_steps(workload)
        ]:
            optimizer.zero_grad()
            loss = workload.loss(model, tuple(part[rows] for part in data.train))
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
            if "clip_norm" in params:
                torch.nn.utils.clip_grad_norm_(model.parameters(), params["clip_norm"])
            if is_noisy:
                std = (params["eta"] / (1 + t) ** params["gamma"]) ** 0.5
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.grad.add_(torch.randn_like(parameter), alpha=std)
            optimizer.step()
            losses.append(loss.detach())
            t += 1
        model.eval()
        with torch.no_grad():
            values = workload.measure(model, data.validation)
        yield {"train_loss": float(torch.stack(losses).mean())} | {
            f"validation_{name}": float(value) for name, value in values.items()
        }


def with_torch_dropout(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with torch's own module at each place that drops activations in every arm."""
    for name, module in model.named_children():
        is_place = isinstance(module, Dropout) and module.rate > 0
        setattr(
            model, name, torch.nn.Dropout(module.rate) if is_place else with_torch_dropout(module)
        )
    return model


def measure(case: Case, slots: int) -> Rate:
    """Measure so many slots as a study does that begins."""
    measurer = _measurers[case.name] = _measurers.get(case.name) or Measurer(
        case.spec("calibration", "annealed", 0)
    )
    return measurer.measure(slots)


def members(case: Case, n: int) -> list[TrialSpec]:
    """Return n trials of the case, every other one with noise."""
    return [
        case.spec(f"{i}", technique, seed=i)
        for i, technique in zip(range(n), itertools.cycle(PARAMS))
    ]


def _epoch(trainer: Trainer) -> int:
    """Train by an epoch and return how many members have."""
    events = trainer.advance()
    ended = [event for event in events if not isinstance(event, Measurement)]
    if ended or not events:
        raise RuntimeError(f"every member should have trained, but got {ended[:3]}")
    return len(events)


def forget() -> None:
    """Let go of every member."""
    _trainers.clear()
    _measurers.clear()
    _loops.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def memory(case: Case, slots: int) -> int:
    """Open the side, and return the most bytes of the GPU that it took for that and for its first
    epoch.
    """
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    _open(case, slots)
    return torch.cuda.max_memory_allocated() - before


def multiply(n: int, seconds: float) -> float:
    """Return the floating-point operations a second that multiplying two matrices of n x n reaches,
    in float32.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    one, other, out = (torch.ones(n, n, device=device) for _ in range(3))
    torch.mm(one, other, out=out)
    _wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        torch.mm(one, other, out=out)
        _wait()
        count += 1
    return count * 2 * n**3 / (time.perf_counter() - start)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def kernels(case: Case, slots: int, seconds: float) -> tuple[float, list[tuple[str, int, float]]]:
    """Return the share of the time in which the GPU computes, and its kernels: name, launches,
    share of what it computes; largest first.
    """
    train(case, slots, 0.0)
    with profiler(activities=[ProfilerActivity.CUDA]) as profile:
        start = time.perf_counter()
        train(case, slots, seconds)
        _wait()
        wall = time.perf_counter() - start
    found = [
        event
        for event in profile.key_averages()
        if event.self_device_time_total and event.device_type == DeviceType.CUDA
    ]
    found.sort(key=lambda event: event.self_device_time_total, reverse=True)
    total = sum(event.self_device_time_total for event in found)
    return total / 1e6 / wall, [
        (event.key, event.count, event.self_device_time_total / total) for event in found
    ]


def flops(case: Case) -> int:
    """Return the floating-point operations of one member's update: the products of its forward and
    backward pass.
    """
    workload = case.open()
    model = workload.model()
    workload.initialise(model, 0)
    batch = tuple(part[: workload.batch_size] for part in workload.data().train)
    with FlopCounterMode(display=False) as counter:
        workload.loss(model, batch).backward()  # type: ignore[no-untyped-call]  # of torch
    return counter.get_total_flops()
