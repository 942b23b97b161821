"""Adaptive gradient clipping: each unit is clipped apart from the others."""

import torch

from gradnoise.parameters import Parameter
from gradnoise.techniques.declare import technique
from gradnoise.techniques.functions import Tensors

LEAST_NORM = 1e-3  # of the weights, so that those that start at 0 can move


@technique(
    on="gradient",
    description=(
        "Limits the norm of each unit's gradient to a share of the norm of its weights, apart from "
        "the other units."
    ),
    formula=(
        "g_i <- g_i min(1, clip_ratio max(|w_i|, 0.001) / |g_i|), i a row (unit, output channel) "
        "of a tensor with 2 or more axes, or the whole of another tensor"
    ),
    source="AGC of Brock et al. 2021, arXiv:2102.06171",
    parameters=(
        Parameter(
            name="clip_ratio",
            description=(
                "Largest norm of a unit's gradient over that of its weights; 0.01 by default."
            ),
            low=0,
            low_open=True,
        ),
    ),
)
def adaptive_clipping(gradient: Tensors, weights: Tensors, clip_ratio: float = 0.01) -> Tensors:
    """Return g_i min(1, clip_ratio max(|w_i|, LEAST_NORM) / |g_i|) for each unit i (Brock et al.
    2021, arXiv:2102.06171, equation 3).
    """
    return {name: _clipped(part, weights[name], clip_ratio) for name, part in gradient.items()}


def _clipped(part: torch.Tensor, weights: torch.Tensor, clip_ratio: float) -> torch.Tensor:
    axes = tuple(range(1 if part.dim() > 1 else 0, part.dim()))
    norm, of_weights = (
        torch.linalg.vector_norm(tensor, dim=axes or None, keepdim=True)
        for tensor in (part, weights)
    )
    limit = of_weights.clamp(min=LEAST_NORM) * clip_ratio
    factor: torch.Tensor = (limit / norm.clamp(min=1e-6)).clamp(max=1)
    return part * factor
