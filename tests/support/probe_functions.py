"""Training functions whose results show how the trainers behave."""

import os
import random
import signal
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gradnoise.workloads import Metric, Trial, function, option, permutation

X = Metric(name="x", direction="maximize", worst=0.0)


@function(name="counting", description="Reports numbers of the global generators.", metrics=[X])
def counting(trial: Trial) -> None:
    for epoch in range(1, trial.budget_epochs + 1):
        drawn = torch.rand(()) + np.random.rand() + random.random()
        trial.report(epoch=epoch, validation_x=drawn, test_x=drawn, train_loss=0.0)


@function(
    name="rounding",
    description="Rounds the factors of products after its first report.",
    metrics=[X],
)
def rounding(trial: Trial) -> None:
    for epoch in range(1, trial.budget_epochs + 1):
        rounds = float(torch.get_float32_matmul_precision() == "high")
        trial.report(epoch=epoch, validation_x=rounds, test_x=rounds, train_loss=0.0)
        torch.set_float32_matmul_precision("high")


@function(
    name="splitting",
    description="Fits a line to a part of eight points, drawn by its seed, and reports the parts.",
    metrics=[X],
)
def splitting(trial: Trial) -> None:
    order = permutation(trial.seed, "split", 0, 8)
    points = torch.arange(8.0)
    train, validation, test = (points[part, None] for part in order.split([4, 2, 2]))
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=trial.params["lr"])
    trial.attach(optimizer)
    for epoch in range(1, trial.budget_epochs + 1):
        optimizer.zero_grad()
        (model(train) - train).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            errors = [(model(part) - part).square().mean() for part in (validation, test)]
        places = {f"place_{i}": float(place) for i, place in enumerate(order)}
        trial.report(epoch=epoch, validation_x=errors[0], test_x=errors[1], **places)


@dataclass(frozen=True, kw_only=True)
class MisbehavingOptions:
    """Its fault."""

    how: str = option("raises", "The fault.")


ENDED = "GRADNOISE_TEST_ENDED"
"""The environment variable with the file that the `finally` of a function writes."""


GROUP = "GRADNOISE_TEST_GROUP"
"""The environment variable with the `cgroup.procs` of a control group of at most GROUP_BYTES."""
GROUP_BYTES = 64_000_000


@function(
    name="misbehaving",
    description="Breaks the rules.",
    metrics=[X],
    options=MisbehavingOptions,
)
def misbehaving(trial: Trial) -> None:
    how = trial.options.how
    try:
        for epoch in range(1, trial.budget_epochs + 1):
            if epoch == 2 and how == "raises":
                raise OSError("no more")
            if epoch == 2 and how == "exits":
                raise SystemExit(3)
            if epoch == 2 and how == "crashes":
                print("before the crash")  # noqa: T201
                os.kill(os.getpid(), signal.SIGSEGV)
            if how == "is killed once" and not Path(os.environ[ENDED]).exists():
                Path(os.environ[ENDED]).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if epoch == 2 and how == "kills its server":
                os.kill(os.getppid(), signal.SIGKILL)
            if epoch == 2 and how == "exhausts memory":
                Path(os.environ[GROUP]).write_text(str(os.getpid()))
                bytearray(os.urandom(1) * GROUP_BYTES * 4)
            if epoch == 2 and how == "stops early":
                return
            try:
                skipped = 1 if how == "skips" and epoch == 2 else 0
                trial.report(
                    epoch=epoch + skipped,
                    validation_x=float("inf") if how == "diverges" else 1.0,
                    test_x=1.0,
                )
            except Exception:
                if how == "swallows":
                    continue
                raise
        if how == "reports too often":
            trial.report(epoch=trial.budget_epochs + 1, validation_x=1.0, test_x=1.0)
        if how == "raises at the end":
            raise OSError("no end")
    finally:
        if ENDED in os.environ:
            Path(os.environ[ENDED]).write_text("cleaned up")


HELD: list[bytes] = []
"""What a function never frees."""


@function(
    name="leaking",
    description="Reports whether it got a clean process, and then changes its state.",
    metrics=[X],
)
def leaking(trial: Trial) -> None:
    HELD.append(bytes(100_000_000))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # raises outside the main thread
    data = torch.utils.data.TensorDataset(torch.arange(4.0))
    loader = torch.utils.data.DataLoader(data, num_workers=1)
    clean = (
        threading.current_thread() is threading.main_thread(),
        torch.get_default_dtype() == torch.float32,
        "LEAKED" not in os.environ,
        Path.cwd() != Path("/"),
        not any("leaked" in str(warning[1]) for warning in warnings.filters),
        sum(float(batch) for (batch,) in loader) == 6.0,
        len(HELD) == 1,
    )
    torch.set_default_dtype(torch.float64)
    os.environ["LEAKED"] = "1"
    os.chdir("/")
    warnings.filterwarnings("always", message="leaked")
    for epoch in range(1, trial.budget_epochs + 1):
        trial.report(epoch=epoch, validation_x=float(all(clean)), test_x=float(sum(clean)))


@function(
    name="resuming",
    description="Trains with momentum and dropout, and continues from its checkpoint.",
    metrics=[X],
)
def resuming(trial: Trial) -> None:
    train_on(trial, trial.budget_epochs)


@dataclass(frozen=True, kw_only=True)
class FlakyOptions:
    """What it waits for."""

    needs: str = option("", "A file.")


@function(
    name="flaky",
    description="Trains as `resuming`; runs on odd seeds fail half-way while a file is missing.",
    metrics=[X],
    options=FlakyOptions,
)
def flaky(trial: Trial) -> None:
    is_whole = trial.seed % 2 == 0 or Path(trial.options.needs).exists()
    train_on(trial, trial.budget_epochs if is_whole else trial.budget_epochs // 2)
    if not is_whole:
        raise OSError(f"{trial.options.needs} is missing")


def train_on(trial: Trial, last_epoch: int) -> None:
    """Train with momentum and dropout up to an epoch, from the checkpoint if there is one."""
    model = torch.nn.Linear(3, 1)
    optimizer = trial.optimizer(model)
    state = trial.restore()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    for epoch in range(trial.epoch + 1, last_epoch + 1):
        for _ in range(3):
            x = torch.nn.functional.dropout(torch.rand(8, 3))
            optimizer.zero_grad()
            (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
            optimizer.step()
        weight = model.weight.detach().sum()
        trial.log(resumed_after=0 if state is None else state["epoch"])
        trial.report(epoch=epoch, validation_x=weight, test_x=weight)
        trial.checkpoint(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        )


@function(
    name="stopping", description="Stops early.", metrics=[X], has_test=False, early_stopping=True
)
def stopping(trial: Trial) -> None:
    trial.report(epoch=1, validation_x=0.5)
    trial.report(epoch=2, validation_x=0.75)


@function(name="sleeping", description="Never reports.", metrics=[X])
def sleeping(_trial: Trial) -> None:
    signal.pause()


GO = "GRADNOISE_TEST_GO"
"""The environment variable with the pipe that a function reads before its first report."""


@function(name="telling", description="Prints each epoch, and waits in the first.", metrics=[X])
def telling(trial: Trial) -> None:
    for epoch in range(1, trial.budget_epochs + 1):
        print(f"epoch {epoch} of seed {trial.seed}")  # noqa: T201
        if GO in os.environ and epoch == 1:
            Path(os.environ[GO]).read_text()
        trial.report(epoch=epoch, validation_x=trial.seed, test_x=1.0)
    print("no end", end="")  # noqa: T201


@function(name="saving", description="Saves a file after each epoch.", metrics=[X])
def saving(trial: Trial) -> None:
    path = Path(os.environ[ENDED])
    for epoch in range(1, trial.budget_epochs + 1):
        path.write_text(f"epoch {epoch}")
        trial.save(path, "result.txt")
        trial.report(epoch=epoch, validation_x=1.0, test_x=1.0)
    for i in range(100):
        trial.save(path, f"{i}.txt")


@function(name="chattering", description="Prints without end.", metrics=[X])
def chattering(_trial: Trial) -> None:
    while True:
        print("again\n" * 1000)  # noqa: T201
