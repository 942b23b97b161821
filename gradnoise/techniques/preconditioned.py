"""Gradient noise that is larger where gradients are small."""

import math
from dataclasses import dataclass

import torch

from gradnoise import schedules
from gradnoise.noise import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.techniques.annealed import GAMMA
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import on_gradient


@dataclass(frozen=True, kw_only=True)
class RootMeanSquare:
    """The preconditioner G = 1 / (damping + sqrt(V)) of RMSProp, V <- decay V + (1 - decay) g^2,
    for each coordinate.

    Args:
        decay: Share of the mean square V that is kept at each update; in [0, 1).
        damping: Gradient size below which coordinates count alike, in gradient units; above 0.

    Raises:
        ValueError: If decay or damping is out of range.
    """

    decay: float
    damping: float

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), but got decay={self.decay}.")
        if not 0 < self.damping < math.inf:
            raise ValueError(f"damping must be above 0 and finite, but got damping={self.damping}.")

    def update_(self, state: torch.Tensor, gradient: torch.Tensor) -> None:
        """Take a gradient, without noise, into V, which is `state`."""
        gradient = gradient.to(state.dtype)
        state.mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)

    def scale(self, state: torch.Tensor) -> torch.Tensor:
        """Return sqrt(G), what a coordinate's noise is multiplied by."""
        return state.sqrt().add_(self.damping).rsqrt_()


def preconditioned(
    eta: float, gamma: float, decay: float = 0.99, damping: float = 1e-5
) -> NoiseProcess:
    """Return g_t <- g_t + sigma_t sqrt(G_t) N(0, I), the noise of pSGLD (Li et al. 2016,
    arXiv:1512.07666).

    sigma_t^2 = eta / (1 + t)^gamma, G_t = 1 / (damping + sqrt(V_t)), V_t = decay V_{t-1} + (1 -
    decay) g_t^2 with the g_t before the noise; V_{-1} = 0.

    pSGLD descends a posterior's negative logarithm U by w <- w - lr/2 (G grad U - Gamma) + N(0, lr
    G), Gamma_i = sum_j dG_ij / dw_j, with V of the mean gradient of the log-likelihood. This is its
    noise and nothing more. The drift is the optimizer's, neither preconditioned by G nor corrected
    by Gamma. The noise is part of the gradient, so it passes through learning rate and momentum;
    its size is annealed by eta and gamma, where pSGLD ties it to the learning rate. V is of the
    gradient that the optimizer gets, clipped if it is clipped. So the weights are no draws from a
    posterior.

    Args:
        eta: Variance of the noise at step 0 where G is 1, in cubed gradient units, as G has the
            unit of 1 / gradient; at least 0.
        gamma: Decay exponent of the variance, dimensionless; at least 0.
        decay: Share of the mean squared gradient V that is kept at each update; in [0, 1). pSGLD's
            is 0.99.
        damping: Added to sqrt(V), in gradient units; above 0. pSGLD's is 1e-5. A coordinate without
            gradient gets sigma_t / sqrt(damping).

    Raises:
        ValueError: If a value is out of range.

    >>> [(t, std)] = preconditioned(eta=0.01, gamma=0.55).terms(99)
    >>> t, round(std, 4)
    (99, 0.0282)
    """
    own = NoiseProcess.of(schedules.annealed(eta, gamma))
    return NoiseProcess(
        terms=own.terms, preconditioner=RootMeanSquare(decay=decay, damping=damping)
    )


TECHNIQUE = Technique(
    name="preconditioned",
    description="Annealed Gaussian noise on every gradient, larger where recent gradients were small.",
    formula="g_t <- g_t + sigma_t sqrt(G_t) N(0, I), sigma_t^2 = eta / (1 + t)^gamma, G_t = 1 / (damping + sqrt(V_t)), "
    "V_t = decay V_{t-1} + (1 - decay) g_t^2 with g_t before the noise",
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
