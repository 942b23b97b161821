"""Gradient centralisation."""

from gradnoise.techniques.declare import technique
from gradnoise.techniques.functions import Tensors


@technique(
    on="gradient",
    description="Subtracts from the gradient of each unit its mean over the unit's inputs.",
    formula="g_i <- g_i - mean(g_i), i a row of a tensor with two or more axes",
    source="Yong et al. 2020, arXiv:2004.01461",
)
def gradient_centralisation(gradient: Tensors) -> Tensors:
    """Return g_i - mean(g_i) for each index i of a tensor's first axis; tensors with fewer than two
    axes, such as biases, are unchanged (Yong et al. 2020, arXiv:2004.01461).
    """
    return {
        name: part - part.mean(tuple(range(1, part.dim())), keepdim=True)
        if part.dim() > 1
        else part
        for name, part in gradient.items()
    }
