"""Noise that is larger where gradients are small."""

from dataclasses import dataclass

import torch

from gradnoise._processes.numbers import number
from gradnoise._processes.process import IndependentTerms, NoiseProcess
from gradnoise._processes.schedules import AnnealedStd


def preconditioned(
    eta: float, gamma: float, decay: float = 0.99, damping: float = 1e-5
) -> NoiseProcess:
    """Return g_t <- g_t + sigma_t sqrt(G_t) N(0, I), the noise of pSGLD.

    sigma_t^2 = eta / (1 + t)^gamma, G_t = 1 / (damping + sqrt(V_t)), V_t = decay V_{t-1} + (1 -
    decay) g_t^2 with g_t before the noise, V_{-1} = 0 (Li et al. 2016, arXiv:1512.07666).

    This is the noise of pSGLD without the rest of that method. pSGLD minimises a posterior's
    negative logarithm U by w <- w - lr/2 (G grad U - Gamma) + N(0, lr G), Gamma_i = sum_j dG_ij /
    dw_j, with V computed from the mean gradient of the log-likelihood. Here the optimizer's step is
    neither preconditioned by G nor corrected by Gamma. The noise is part of the gradient, so
    learning rate and momentum apply to it. Its size follows eta and gamma, where pSGLD derives it
    from the learning rate. V uses the gradient that the optimizer receives, after clipping. The
    weights are therefore not samples from a posterior.

    Args:
        eta: Variance of the noise at t = 0 where G is 1, in cubed gradient units, because G has the
            unit of 1 / gradient; at least 0.
        gamma: Decay exponent of the variance, dimensionless; at least 0.
        decay: Share of the mean squared gradient V that is kept at each update; in [0, 1). pSGLD
            uses 0.99.
        damping: Added to sqrt(V), in gradient units; above 0. pSGLD uses 1e-5. The noise on a
            coordinate whose gradients are 0 has standard deviation sigma_t / sqrt(damping).

    Raises:
        TypeError: If a value is no number.
        ValueError: If a value is out of range.

    >>> round(preconditioned(eta=0.01, gamma=0.55).std(99), 4)
    0.0282
    """
    return NoiseProcess(
        terms=IndependentTerms(AnnealedStd(eta, gamma)),
        preconditioner=RootMeanSquare(decay=decay, damping=damping),
    )


@dataclass(frozen=True, kw_only=True)
class RootMeanSquare:
    """The preconditioner of RMSProp: G = 1 / (damping + sqrt(V)), V <- decay V + (1 - decay) g^2.

    Args:
        decay: Share of the mean square V that is kept at each update; in [0, 1).
        damping: Added to sqrt(V), in gradient units; above 0. It bounds G by 1 / damping.

    Raises:
        TypeError: If decay or damping is no number.
        ValueError: If decay or damping is out of range.
    """

    decay: float
    damping: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", number("decay", self.decay, legal="in [0, 1)"))
        object.__setattr__(self, "damping", number("damping", self.damping, legal="above 0"))
        if self.decay >= 1:
            raise ValueError(f"decay must be in [0, 1), but got decay={self.decay}.")
        if self.damping == 0:
            raise ValueError(f"damping must be above 0 and finite, but got damping={self.damping}.")

    def update_(self, state: torch.Tensor, gradient: torch.Tensor) -> None:
        """Update V, stored in `state`, from a gradient without noise."""
        gradient = gradient.to(state.dtype)
        state.mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)

    def scale(self, state: torch.Tensor) -> torch.Tensor:
        """Return sqrt(G), the factor of each coordinate's noise."""
        return state.sqrt().add_(self.damping).rsqrt_()
