"""Grokfast: the slow part of the gradient, amplified."""

import torch

from gradnoise.parameters import Parameter
from gradnoise.techniques.declare import technique
from gradnoise.techniques.functions import Tensors


def _zeros(weights: Tensors) -> Tensors:
    return {name: torch.zeros_like(part) for name, part in weights.items()}


@technique(
    on="gradient",
    state=_zeros,
    description="Adds to the gradient an amplified moving average of the past gradients.",
    formula=(
        "g_t <- g_t + amplification m_t, m_t = ema_share m_{t-1} + (1 - ema_share) g_t, m_{-1} = 0"
    ),
    source="Grokfast-EMA of Lee et al. 2024, arXiv:2405.20233",
    parameters=(
        Parameter(
            name="amplification",
            description="Factor of the moving average that is added; 2 by default.",
            low=0,
        ),
        Parameter(
            name="ema_share",
            description="Share of the moving average kept at each update; 0.98 by default.",
            low=0,
            high=0.9999,
        ),
    ),
)
def grokfast(
    gradient: Tensors, state: Tensors, amplification: float = 2.0, ema_share: float = 0.98
) -> tuple[Tensors, Tensors]:
    """Return g + amplification m and m <- ema_share m + (1 - ema_share) g (Lee et al. 2024,
    arXiv:2405.20233).
    """
    mean = {
        name: state[name] * ema_share + part * (1 - ema_share) for name, part in gradient.items()
    }
    return {name: part + mean[name] * amplification for name, part in gradient.items()}, mean
