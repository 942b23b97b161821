"""The sides of a comparison, in their processes: training, matrix products, memory, kernels."""

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

from gradnoise import training
from gradnoise.training import Trainer, open_trainer
from gradnoise.training.calibration import Measurer, Rate
from gradnoise.training.epochs import n_steps
from gradnoise.training.memory import peak_bytes, reset_peak
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import Failed, Finished, Measurement, TrialSpec
from gradnoise.workloads import Dropout, Workload
from gradnoise.workloads.registry import WORKLOADS

EPOCHS = 1_000_000
"""A budget that no side reaches."""
PARAMS = {"none": {"lr": 0.001}, "annealed": {"lr": 0.001, "eta": 0.01, "gamma": 0.55}}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What every side trains; half of the members have annealed noise.

    Args:
        name: Its name in the figures.
        workload: The name of a workload of benchmarks/workloads.py.
        options: The workload's options.
        optimizer: `sgd` or `adam`.
        params: Hyperparameters that are added to those in PARAMS or replace them.
        at_least: The bar for the rate of the picked stack over that of an eager process.
        share_at_least: The bar for the share of the limit that it reaches, in per cent.
    """

    name: str
    workload: str
    options: Mapping[str, object] = field(default_factory=dict)
    optimizer: str = "sgd"
    params: Mapping[str, Any] = field(default_factory=dict)
    at_least: float | None = None
    share_at_least: float | None = None

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
        names = [parameter.name for parameter in declared.parameters]
        return declared(
            self.options,
            {name: self.params[name] for name in names if name in self.params},
        )


_trainers: dict[tuple[str, int], list[Trainer]] = {}
_measurers: dict[str, Measurer] = {}
_loops: dict[str, list[Iterator[Mapping[str, float]]]] = {}


def train(case: Case, slots: int, seconds: float) -> float:
    """Train whole epochs for about `seconds` and return the member-steps per second.

    The first call trains an additional epoch before it measures.

    Args:
        case: What to train.
        slots: Members that train as one model; 0 for the reference trainer, which trains each
            as a separate model.
        seconds: At least one epoch is trained.
    """
    trainers = _trainers.get((case.name, slots)) or _open(case, slots)
    start, n_epochs = time.perf_counter(), 0
    while n_epochs == 0 or time.perf_counter() - start < seconds:
        n_epochs += sum(_epoch(trainer) for trainer in trainers)
    return n_epochs * n_steps(case.open()) / (time.perf_counter() - start)


def _open(case: Case, slots: int) -> list[Trainer]:
    """Open the trainers and train an epoch.

    A stack is a single trainer; 0 or 1 slots are two trainers, without and with noise.
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
    """Train two members in plain PyTorch loops, and return the member-steps per second."""
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
    """Train the case's model in a plain PyTorch loop, and yield the metrics of each epoch.

    Model, initial weights, loss, optimizer, clipping, noise and metrics are those of `train`; the
    random numbers are torch's.
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
    """Return the model with torch's dropout module wherever every arm drops activations."""
    for name, module in model.named_children():
        drops = isinstance(module, Dropout) and module.rate > 0
        setattr(model, name, torch.nn.Dropout(module.rate) if drops else with_torch_dropout(module))
    return model


def measure(case: Case, slots: int) -> Rate:
    """Measure a number of slots as the calibration of a study does."""
    measurer = _measurers[case.name] = _measurers.get(case.name) or Measurer(
        case.spec("calibration", "annealed", 0)
    )
    return measurer.measure(slots)


def members(case: Case, n: int) -> list[TrialSpec]:
    """Return n trials of the case, alternately without and with noise."""
    return [
        case.spec(f"{i}", technique, seed=i)
        for i, technique in zip(range(n), itertools.cycle(PARAMS))
    ]


def _epoch(trainer: Trainer) -> int:
    """Train an epoch and return the number of members that trained."""
    events = trainer.advance()
    trained = [event for event in events if isinstance(event, Measurement)]
    ended = [event for event in events if isinstance(event, Finished | Failed)]
    if ended or not trained:
        raise RuntimeError(f"every member should have trained, but got {ended[:3]}")
    return len(trained)


def forget() -> None:
    """Release all members and their memory."""
    _trainers.clear()
    _measurers.clear()
    _loops.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def memory(case: Case, slots: int) -> int:
    """Return the peak of the device's memory in bytes while the side opens and trains an epoch."""
    device = training.device()
    before = reset_peak(device)
    _open(case, slots)
    return peak_bytes(device) - before


def multiply(n: int, seconds: float) -> float:
    """Return the floating-point operations per second of n x n matrix products in float32."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    a, b, out = (torch.ones(n, n, device=device) for _ in range(3))
    torch.mm(a, b, out=out)
    _wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        torch.mm(a, b, out=out)
        _wait()
        count += 1
    return count * 2 * n**3 / (time.perf_counter() - start)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def kernels(case: Case, slots: int, seconds: float) -> tuple[float, list[tuple[str, int, float]]]:
    """Return the share of time in which the GPU computes, and its kernels by their time.

    A kernel is its name, its number of launches, and its share of the computing time.
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
    """Return the floating-point operations of a member's update.

    These are the products of its forward and backward pass.
    """
    workload = case.open()
    model = workload.model()
    workload.initialise(model, 0)
    batch = tuple(part[: workload.batch_size] for part in workload.data().train)
    with FlopCounterMode(display=False) as counter:
        workload.loss(model, batch).backward()  # type: ignore[no-untyped-call]  # of torch
    return counter.get_total_flops()
