"""Noise on the weights at which the gradient is taken."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gradnoise._noise import Noise
from gradnoise._processes import AnnealedStd, Schedule
from gradnoise.parameters import Parameter
from gradnoise.techniques.annealed import GAMMA
from gradnoise.techniques.base import Technique

PURPOSE = "weight_noise"  # a stream of its own: never the numbers of the gradient noise


@dataclass(frozen=True, kw_only=True)
class WeightNoise:
    """Weight noise whose standard deviation at update t, in units of weights, is `schedule(t)`."""

    schedule: Schedule


def weight_noise(eta: float, gamma: float) -> WeightNoise:
    """Return annealed weight noise: g_t = grad L(w_t + N(0, eta / (1 + t)^gamma)), applied to w_t.

    It is a control of Neelakantan et al. 2016 (openreview rkjZ2Pcxe): only forward and backward of
    an update see the noise.

    Args:
        eta: Variance of the noise at step 0, in squared units of weights; at least 0.
        gamma: Decay exponent, dimensionless; at least 0.

    Raises:
        ValueError: If eta or gamma is negative or not finite.

    >>> round(weight_noise(eta=0.01, gamma=0.55).schedule(99), 4)
    0.0282
    """
    return WeightNoise(schedule=AnnealedStd(eta, gamma))


class NoisyWeights:
    """The parameters of one model under weight noise; forward and backward of an update both go
    inside `at`, `optimizer.step()` after it.

    Args:
        named_parameters: As `model.named_parameters()` gives them; the noise depends on the names.
        effect: The weight noise.
        seed: Seeds the noise; at least 0.

    >>> model = torch.nn.Linear(3, 1)
    >>> noisy = NoisyWeights(model.named_parameters(), weight_noise(eta=0.01, gamma=0.55), seed=1)
    >>> clean = model.weight.detach().clone()
    >>> with noisy.at(t=0):
    ...     bool((model.weight == clean).any())
    ...     model(torch.ones(2, 3)).sum().backward()
    False
    >>> bool((model.weight == clean).all())
    True
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.Tensor]],
        effect: WeightNoise,
        *,
        seed: int,
    ) -> None:
        by_name = dict(named_parameters)
        self._parameters = list(by_name.values())
        self._clean = [
            torch.empty_like(parameter, requires_grad=False) for parameter in self._parameters
        ]
        self._noise = Noise(
            seed, {name: parameter.shape for name, parameter in by_name.items()}, PURPOSE
        )
        self._schedule = effect.schedule

    @contextmanager
    def at(self, t: int) -> Iterator[None]:
        """Add the noise of update t (from 0) to the weights, and put back the very weights that
        were there at the end, whatever happens.
        """
        with torch.no_grad():
            for clean, parameter in zip(self._clean, self._parameters, strict=True):
                clean.copy_(parameter)
        try:
            with torch.no_grad():
                self._noise.add_(self._parameters, t, self._schedule(t))
            yield
        finally:
            with torch.no_grad():
                for parameter, clean in zip(self._parameters, self._clean, strict=True):
                    parameter.copy_(clean)


TECHNIQUE = Technique(
    name="weight_noise",
    description=(
        "Gaussian noise on the weights while the gradient is computed, its variance falling with "
        "the update count t."
    ),
    formula="g_t = grad L(w_t + N(0, sigma_t^2)), sigma_t^2 = eta / (1 + t)^gamma, applied to w_t",
    source="the annealed weight noise of Neelakantan et al. 2016, openreview rkjZ2Pcxe",
    parameters=(
        Parameter(
            name="eta",
            description="Variance of the noise at step 0, in squared units of weights.",
            low=0,
        ),
        GAMMA,
    ),
    effect=weight_noise,
)
