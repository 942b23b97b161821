"""Gradient noise that is larger where gradients are small."""

from gradnoise._processes import preconditioned
from gradnoise.parameters import Parameter
from gradnoise.techniques.annealed import GAMMA
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import on_gradient

TECHNIQUE = Technique(
    name="preconditioned",
    description=(
        "Annealed Gaussian noise on every gradient, larger where recent gradients were small."
    ),
    formula=(
        "g_t <- g_t + sigma_t sqrt(G_t) N(0, I), sigma_t^2 = eta / (1 + t)^gamma, G_t = 1 / "
        "(damping + sqrt(V_t)), V_t = decay V_{t-1} + (1 - decay) g_t^2 with g_t before the noise"
    ),
    source="the noise of pSGLD, Li et al. 2016, arXiv:1512.07666",
    places=("gradient",),
    parameters=(
        Parameter(
            name="eta",
            description=(
                "Variance of the noise at step 0 where the preconditioner is 1, in cubed gradient "
                "units."
            ),
            low=0,
        ),
        GAMMA,
        Parameter(
            name="decay",
            description="Share of the mean squared gradient kept at each update; 0.99 by default.",
            low=0,
            high=0.9999,
        ),
        Parameter(
            name="damping",
            description="Added to the root mean square, in gradient units; 1e-5 by default.",
            low=0,
            low_open=True,
        ),
    ),
    contribute=on_gradient(preconditioned),
)
