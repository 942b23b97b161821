"""Hyperparameters that several optimizers declare."""

from gradnoise.parameters import Parameter
from gradnoise.workloads.optimizer import LR as LR

WEIGHT_DECAY = Parameter(
    name="weight_decay",
    description="Factor of the weights that is added to their gradient; 0 by default.",
    low=0,
)
MOMENTUM = Parameter(
    name="momentum",
    description="Share of the last step that is kept; 0 by default.",
    low=0,
    high=0.9999,
)
BETA1 = Parameter(
    name="beta1", description="Decay of the mean gradient; 0.9 by default.", low=0, high=0.9999
)
BETA2 = Parameter(
    name="beta2",
    description="Decay of the mean squared gradient; 0.999 by default.",
    low=0,
    high=0.9999,
)
EPS = Parameter(
    name="eps",
    description="Number added to the root of the mean squared gradient; 1e-8 by default.",
    low=0,
    low_open=True,
    high=1,
)
