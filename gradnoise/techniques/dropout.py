"""Dropout."""

from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.masks import DropoutMasks


def dropout(rate: float) -> Contribution:
    """Return inverted dropout: an activation is dropped with probability rate, else divided by 1 -
    rate (Srivastava et al. 2014, JMLR 15).

    Args:
        rate: Share of the activations that is dropped; in [0, 1).

    Raises:
        ValueError: If the rate is out of range.

    >>> import torch
    >>> mask = dropout(rate=0.5).activations.draw(1, 0, "layer", torch.ones(4, 100))
    >>> mask.shape, mask.unique().tolist()
    (torch.Size([4, 100]), [0.0, 2.0])
    """
    return Contribution(activations=DropoutMasks(rate=rate))


TECHNIQUE = Technique(
    name="dropout",
    description=("Drops a share of the activations at each update, at the model's Dropout layers."),
    formula=(
        "a <- a m / (1 - rate), m ~ Bernoulli(1 - rate), independent for every activation, in "
        "training alone"
    ),
    source="Srivastava et al. 2014, JMLR 15",
    places=("activations",),
    parameters=(
        Parameter(
            name="rate", description="Share of the activations that is dropped.", low=0, high=0.9999
        ),
    ),
    contribute=dropout,
)
