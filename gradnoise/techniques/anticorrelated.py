"""Gradient noise whose successive draws cancel."""

from gradnoise import schedules
from gradnoise.noise import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import on_gradient


def anticorrelated(std: float) -> NoiseProcess:
    """Return g_t <- g_t + std (xi_t - xi_{t-1}), xi_t ~ N(0, I), xi_{-1} = 0 (Orvieto et al. 2022,
    arXiv:2202.02831).

    Their Anti-PGD, w_{t+1} = w_t - lr g_t + (xi_{t+1} - xi_t), perturbs the step. Ours perturbs the
    gradient, and the two are one under plain SGD at a constant learning rate, with perturbations of
    standard deviation lr std: there the noise of T updates telescopes to a single draw, w_T = w_0 -
    lr sum_t g_t - lr std xi_{T-1}. With momentum, an adaptive optimizer or a rate that changes, it
    does not.

    Nothing is kept between updates: xi_{t-1} is drawn anew.

    Args:
        std: Standard deviation of xi, in gradient units; at least 0. That of the noise is sqrt(2)
            std from the second update on.

    Raises:
        ValueError: If std is negative or not finite.

    >>> anticorrelated(std=0.1).terms(0), anticorrelated(std=0.1).terms(7)
    (((0, 0.1),), ((7, 0.1), (6, -0.1)))
    """
    size = schedules.constant(std)(0)
    return NoiseProcess(terms=lambda t: ((t, size), (t - 1, -size)) if t > 0 else ((t, size),))


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
