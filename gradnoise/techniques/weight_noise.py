"""Noise on the weights at which the gradient is taken."""

from gradnoise._processes import annealed
from gradnoise.parameters import Parameter
from gradnoise.techniques.annealed import GAMMA
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import Contribution


def weight_noise(eta: float, gamma: float) -> Contribution:
    """Return annealed weight noise: g_t = grad L(w_t + N(0, eta / (1 + t)^gamma)), applied to w_t.

    It is a control of Neelakantan et al. 2016 (openreview rkjZ2Pcxe): the noise affects only
    forward and backward of an update.

    Args:
        eta: Variance of the noise at step 0, in squared units of weights; at least 0.
        gamma: Decay exponent, dimensionless; at least 0.

    Raises:
        ValueError: If eta or gamma is negative or not finite.

    >>> round(weight_noise(eta=0.01, gamma=0.55).weights.std(99), 4)
    0.0282
    """
    return Contribution(weights=annealed(eta, gamma))


TECHNIQUE = Technique(
    name="weight_noise",
    description=(
        "Gaussian noise on the weights while the gradient is computed, its variance falling with "
        "the update count t."
    ),
    formula="g_t = grad L(w_t + N(0, sigma_t^2)), sigma_t^2 = eta / (1 + t)^gamma, applied to w_t",
    source="the annealed weight noise of Neelakantan et al. 2016, openreview rkjZ2Pcxe",
    places=("weights",),
    parameters=(
        Parameter(
            name="eta",
            description="Variance of the noise at step 0, in squared units of weights.",
            low=0,
        ),
        GAMMA,
    ),
    contribute=weight_noise,
)
