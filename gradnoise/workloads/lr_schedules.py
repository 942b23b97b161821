"""Learning-rate schedules: the factor of a trial's learning rate in each epoch.

The factor is the same for all updates of an epoch. The schedule is a hyperparameter of every
optimizer: a study may fix it or search it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule, When

Factor = Callable[[int], float]
"""From the epoch, counted from 0, to the factor of the learning rate."""

LR_PARAMETERS = (
    Parameter(
        name="lr_schedule",
        description="How the learning rate changes from epoch to epoch; constant by default.",
        choices=("constant", "cosine", "step", "halving"),
    ),
    Parameter(
        name="lr_every_epochs",
        description="Epochs from one rate to the next, of the schedules step and halving.",
        low=1,
        integer=True,
    ),
    Parameter(
        name="lr_factor",
        description="Factor of the rate at each step of the schedule step.",
        low=0,
        low_open=True,
        high=1,
    ),
)
LR_RULES = (
    Rule(
        kind="needs",
        field="lr_every_epochs",
        when=(When(field="lr_schedule", values=("step", "halving")),),
    ),
    Rule(kind="needs", field="lr_factor", when=(When(field="lr_schedule", values=("step",)),)),
    Rule(kind="needs", field="lr_schedule", when=(When(field="lr_every_epochs"),)),
    Rule(kind="needs", field="lr_schedule", when=(When(field="lr_factor"),)),
)


def lr_factor(params: Mapping[str, Any], budget_epochs: int) -> Factor:
    """Return the schedule that a trial's hyperparameters name.

    With e the epoch, E the budget and n = lr_every_epochs:

    | lr_schedule | factor | source |
    |---|---|---|
    | constant | 1 | |
    | cosine | (1 + cos(pi e / E)) / 2 | Loshchilov & Hutter 2017, arXiv:1608.03983 |
    | step | lr_factor ** floor(e / n) | |
    | halving | 0.5 ** floor(e / n) | Sukhbaatar et al. 2015, arXiv:1503.08895 |

    A schedule ignores the hyperparameters of the others, so that a study can search among
    schedules.

    Args:
        params: A trial's hyperparameters, checked against LR_PARAMETERS and LR_RULES.
        budget_epochs: Epochs that the trial trains in all; at least 1.

    >>> halving = lr_factor({"lr_schedule": "halving", "lr_every_epochs": 25}, budget_epochs=100)
    >>> halving(0), halving(24), halving(25), halving(99)
    (1.0, 1.0, 0.5, 0.125)
    """
    schedule = params.get("lr_schedule", "constant")
    match schedule:
        case "cosine":
            return lambda epoch: (1 + math.cos(math.pi * epoch / budget_epochs)) / 2
        case "step" | "halving":
            factor = params["lr_factor"] if schedule == "step" else 0.5
            every_epochs = int(params["lr_every_epochs"])
            return lambda epoch: float(factor ** (epoch // every_epochs))
    return lambda epoch: 1.0
