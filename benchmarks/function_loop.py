"""A training function and the same loop without gradnoise, for `bench_workloads`."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from gradnoise.training.function_run import FunctionRun
from gradnoise.training.setup import prepare
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads import Trial, function
from gradnoise.workloads.registry import WORKLOADS

N_UPDATES, BATCH, WIDTH = 50, 64, 256
LR, ETA, GAMMA = 0.01, 0.01, 0.55
Batches = list[tuple[torch.Tensor, torch.Tensor]]


def opened() -> tuple[torch.nn.Module, Batches]:
    """Return a network of three layers and the batches of an epoch."""
    torch.manual_seed(0)
    layers = (torch.nn.Linear(64, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH))
    model = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(WIDTH, 10))
    batches = [(torch.randn(BATCH, 64), torch.randint(10, (BATCH,))) for _ in range(N_UPDATES)]
    return model, batches


def loss_of(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])


@function(metrics={"loss": "minimize"})
def loop(trial: Trial) -> None:
    """Train a small network on random examples."""
    model, batches = opened()
    optimizer = trial.optimizer(model)
    for epoch in range(1, trial.budget_epochs + 1):
        for batch in batches:
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
            optimizer.step()
        trial.report(epoch=epoch, validation_loss=loss.detach())


def bare_loop(*, is_noisy: bool) -> Iterator[float]:
    """Train the same network in the same loop, with the noise by hand, and yield each loss."""
    model, batches = opened()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=LR)
    for t in itertools.count(step=N_UPDATES):
        for i, batch in enumerate(batches):
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
            if is_noisy:
                std = math.sqrt(ETA / (1 + t + i) ** GAMMA)
                for weights in model.parameters():
                    assert weights.grad is not None
                    weights.grad.add_(torch.randn_like(weights), alpha=std)
            optimizer.step()
        yield float(loss.detach())


_functions: list[FunctionRun] = []
_bare: list[Iterator[float]] = []


def train_function(seconds: float) -> float:
    """Train the function without and with noise, epoch by epoch; return its updates per second."""
    if not _functions:
        _functions.extend(map(_opened_run, (False, True)))
    return _rate([run.train_epoch for run in _functions], seconds)


def train_bare(seconds: float) -> float:
    """Train the bare loops likewise."""
    if not _bare:
        _bare.extend(bare_loop(is_noisy=is_noisy) for is_noisy in (False, True))
        for loop in _bare:
            next(loop)
    return _rate([loop.__next__ for loop in _bare], seconds)


def _opened_run(is_noisy: bool) -> FunctionRun:
    noise = {"eta": ETA, "gamma": GAMMA} if is_noisy else {}
    spec = TrialSpec(
        key="",
        workload="loop",
        techniques=("annealed",) if is_noisy else ("none",),
        params={"lr": LR, **noise},
        seed=0,
        budget_epochs=1_000_000,
    )
    with WORKLOADS.including(loop):
        setup = prepare(spec)
    run = FunctionRun(setup, loop)
    run.train_epoch()  # starts its process
    return run


def _rate(epochs: Sequence[Callable[[], object]], seconds: float) -> float:
    start, n_epochs = time.perf_counter(), 0
    while n_epochs == 0 or time.perf_counter() - start < seconds:
        for epoch in epochs:
            epoch()
            n_epochs += 1
    return n_epochs * N_UPDATES / (time.perf_counter() - start)
