"""Learning-rate schedules: the factor of a trial's learning rate in each of its epochs, the same
for all updates of an epoch.

Like the rate itself a schedule is a hyperparameter, of every optimizer: a study may fix it or
    search it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from gradnoise.parameters import Parameter

Factor = Callable[[int], float]
"""From the epoch, counted from 0, to the factor of the learning rate."""

SCHEDULE = Parameter(
    name="lr_schedule",
    description="How the learning rate changes from epoch to epoch; constant by default.",
    choices=("constant", "cosine", "step", "halving"),
    needs={"step": ("lr_every_epochs", "lr_factor"), "halving": ("lr_every_epochs",)},
)
EVERY_EPOCHS = Parameter(
    name="lr_every_epochs",
    description="Epochs from one rate to the next, of the schedules step and halving.",
    low=1,
    integer=True,
)
FACTOR = Parameter(
    name="lr_factor",
    description="What the schedule step multiplies the rate by each time.",
    low=0,
    low_open=True,
    high=1,
)
LR_SCHEDULE = (SCHEDULE, EVERY_EPOCHS, FACTOR)


def lr_factor(params: Mapping[str, Any], budget_epochs: int) -> Factor:
    """Return the schedule that a trial's hyperparameters name; e is the epoch, E the budget, n is
    lr_every_epochs.

    | lr_schedule | factor | source |
    |---|---|---|
    | constant | 1 | |
    | cosine | (1 + cos(pi e / E)) / 2, without restarts | Loshchilov & Hutter 2017, arXiv:1608.03983 |
    | step | lr_factor ** floor(e / n) | |
    | halving | 0.5 ** floor(e / n) | Sukhbaatar et al. 2015, arXiv:1503.08895 |

    A schedule leaves alone what only another one needs, so that a study can search among schedules.

    Args:
        params: A trial's hyperparameters, checked.
        budget_epochs: How many epochs the trial trains in all; at least 1.

    Raises:
        ValueError: If what a schedule needs is given without any schedule.

    >>> halving = lr_factor({"lr_schedule": "halving", "lr_every_epochs": 25}, budget_epochs=100)
    >>> halving(0), halving(24), halving(25), halving(99)
    (1.0, 1.0, 0.5, 0.125)
    """
    for name in ("lr_every_epochs", "lr_factor"):
        if name in params and "lr_schedule" not in params:
            takers = " or ".join(word for word, needs in SCHEDULE.needs.items() if name in needs)
            raise ValueError(
                f"lr_schedule is missing: with {name}={params[name]!r} it must be given, as "
                f"{takers}."
            )
    schedule = params.get("lr_schedule", "constant")
    match schedule:
        case "cosine":
            return lambda epoch: (1 + math.cos(math.pi * epoch / budget_epochs)) / 2
        case "step" | "halving":
            factor, every_epochs = (
                params["lr_factor"] if schedule == "step" else 0.5,
                int(params["lr_every_epochs"]),
            )
            return lambda epoch: float(factor ** (epoch // every_epochs))
    return lambda epoch: 1.0
