"""Learning-rate schedules: the factor of a trial's learning rate in each epoch and update.

The schedule is a hyperparameter of every optimizer: a study may fix it or search it. Its factor is
the same for all updates of an epoch; the factor of the warm-up changes from update to update.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule, When

Factor = Callable[[float], float]
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
    Parameter(
        name="lr_warmup_steps",
        description="First updates, over which the rate rises in proportion; 0 by default.",
        low=0,
        integer=True,
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
    schedules. With a budget in steps, e is the step divided by the steps from report to report.

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


def warmup_factor(params: Mapping[str, Any], step: int) -> float:
    """Return min(1, (t + 1) / n), the factor of linear warm-up (Goyal et al. 2017,
    arXiv:1706.02677), with n = lr_warmup_steps.

    It multiplies the factor of the schedule. Without a warm-up it is 1.

    Args:
        params: A trial's hyperparameters, checked against LR_PARAMETERS.
        step: The update t, counted from 0.

    >>> [warmup_factor({"lr_warmup_steps": 4}, step) for step in (0, 1, 3, 4)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return float(warmup_factors(params, range(step, step + 1))[0])


def warmup_factors(params: Mapping[str, Any], steps: range) -> npt.NDArray[np.float64]:
    """Return `warmup_factor` of each of these updates."""
    n = params.get("lr_warmup_steps", 0)
    if not n:
        return np.ones(len(steps))
    counts = np.array(steps, dtype=np.float64) + 1
    return np.minimum(counts / float(n), 1.0)
