"""Annealed gradient noise."""

from gradnoise._processes import annealed
from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import on_gradient

GAMMA = Parameter(
    name="gamma",
    description="Decay exponent of the variance, dimensionless; the paper uses 0.55.",
    low=0,
)

TECHNIQUE = Technique(
    name="annealed",
    description=(
        "Gaussian noise on every gradient, whose variance eta / (1 + t)^gamma falls with the "
        "update count t."
    ),
    formula=(
        "g_t <- g_t + N(0, sigma_t^2), sigma_t^2 = eta / (1 + t)^gamma, independent for every "
        "coordinate of every parameter"
    ),
    source="Neelakantan et al. 2015, arXiv:1511.06807",
    places=("gradient",),
    parameters=(
        Parameter(
            name="eta",
            description="Variance of the noise at step 0, in squared gradient units.",
            low=0,
        ),
        GAMMA,
    ),
    contribute=on_gradient(annealed),
)
