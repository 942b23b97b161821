"""Training functions whose results show how the trainers behave."""

import random
import threading
from dataclasses import dataclass

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
    trial.noise(optimizer)
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


ended: list[str] = []
"""The threads whose `finally` ran."""


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
        ended.append(threading.current_thread().name)
