"""Label smoothing."""

import torch
from torch.nn import functional

from gradnoise.parameters import Parameter
from gradnoise.techniques.declare import technique


@technique(
    on="loss",
    description="Trains on targets that give every class a share of the probability.",
    formula="L = (1 - smoothing) (-log p_y) + smoothing / K sum over the K classes k of (-log p_k)",
    source="Szegedy et al. 2016, arXiv:1512.00567",
    parameters=(
        Parameter(
            name="smoothing",
            description="Share of the target that is spread over all classes; 0.1 by default.",
            low=0,
            high=1,
        ),
    ),
)
def label_smoothing(
    logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.1
) -> torch.Tensor:
    """Return (1 - smoothing) H(y, p) + smoothing H(u, p) of each example, u uniform (Szegedy et al.
    2016, arXiv:1512.00567, section 7).
    """
    right = functional.cross_entropy(logits, targets, reduction="none")
    uniform = -functional.log_softmax(logits, dim=1).mean(1)
    return right + (uniform - right) * smoothing
