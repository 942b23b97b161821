"""Gradient noise whose successive draws cancel."""

from gradnoise._processes import anticorrelated
from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import on_gradient

TECHNIQUE = Technique(
    name="anticorrelated",
    description="Gaussian noise on every gradient that takes back the noise of the update before.",
    formula="g_t <- g_t + std (xi_t - xi_{t-1}), xi_t ~ N(0, I), xi_{-1} = 0",
    source="Anti-PGD of Orvieto et al. 2022, arXiv:2202.02831, on the gradient",
    places=("gradient",),
    parameters=(
        Parameter(
            name="std",
            description="Standard deviation of each draw xi_t, in gradient units.",
            low=0,
        ),
    ),
    contribute=on_gradient(anticorrelated),
)
