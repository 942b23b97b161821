"""Exponential moving average of the weights."""

import torch

from gradnoise.parameters import Parameter
from gradnoise.techniques.declare import technique
from gradnoise.techniques.functions import Tensors


@technique(
    on="average",
    description="Measures the metrics at a moving average of the weights; updates are unchanged.",
    formula=(
        "a_t = d_t a_{t-1} + (1 - d_t) w_{t+1}, d_t = min(ema_decay, t / (t + 1)): the mean of all "
        "weights after updates until 1 / (1 - ema_decay) updates, then an exponential average"
    ),
    source=(
        "Polyak and Juditsky 1992, SIAM J. Control Optim. 30; d_t of Tarvainen and Valpola 2017, "
        "arXiv:1703.01780"
    ),
    parameters=(
        Parameter(
            name="ema_decay",
            description="Share of the average kept at each update; 0.999 by default.",
            low=0,
            high=0.999999,
        ),
    ),
)
def ema(average: Tensors, weights: Tensors, t: torch.Tensor, ema_decay: float = 0.999) -> Tensors:
    """Return a + (1 - d_t) (w - a), d_t = min(ema_decay, t / (t + 1))."""
    latest = 1 - (t / (t + 1)).clamp(max=ema_decay)
    return {name: part + (weights[name] - part) * latest for name, part in average.items()}
