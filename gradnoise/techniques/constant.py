"""Constant gradient noise."""

from gradnoise._processes import constant
from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import on_gradient

TECHNIQUE = Technique(
    name="constant",
    description="Gaussian noise on every gradient, of the same size at every update.",
    formula="g_t <- g_t + N(0, std^2), independent for every coordinate of every parameter",
    source="the fixed noise of Neelakantan et al. 2016, openreview rkjZ2Pcxe",
    places=("gradient",),
    parameters=(
        Parameter(
            name="std", description="Standard deviation of the noise, in gradient units.", low=0
        ),
    ),
    contribute=on_gradient(constant),
)
