"""The network: fully connected ReLU layers of equal width."""

import itertools
import math
from collections.abc import Callable, Mapping

import torch

from gradnoise.techniques.dropout_layers import Dropout

INITS: Mapping[str, Callable[[int], float]] = {
    "simple": lambda _n_inputs: 0.1,
    "he": lambda n_inputs: math.sqrt(2 / n_inputs),
    "zero": lambda _n_inputs: 0.0,
    "sussillo-abbott": lambda n_inputs: (
        math.sqrt(2 / n_inputs) * math.exp(1.2 / (max(n_inputs, 6) - 2.4))
    ),
}
"""Standard deviation of a layer's initial weights as a function of its number of inputs.

`simple` is the paper's N(0, 0.1^2); `he`: He et al. 2015, arXiv:1502.01852; `sussillo-abbott`:
Sussillo & Abbott 2014, arXiv:1412.6558, for ReLU.
"""


class ReLU(Dropout):
    """A ReLU followed by a place for dropout.

    Both are a single module because the call of a module is expensive in a narrow network.
    """

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.relu(activations))


def network(*, n_inputs: int, width: int, depth: int, n_classes: int, norm: str) -> torch.nn.Module:
    """Return `depth` hidden layers of `width` units and a linear output layer.

    Args:
        n_inputs: Length of an input.
        width: Units per hidden layer.
        depth: Hidden layers.
        n_classes: Units of the output layer.
        norm: `layer`: a LayerNorm before each ReLU; else nothing.
    """
    widths = [n_inputs, *[width] * depth]
    layers: list[torch.nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        normalisation = [torch.nn.LayerNorm(n_out)] if norm == "layer" else []
        layers += [torch.nn.Linear(n_in, n_out), *normalisation, ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], n_classes))
