"""A technique: gradient noise that decays exponentially."""

import math
from dataclasses import dataclass

from gradnoise import NoiseProcess
from gradnoise.workloads import Contribution, Parameter, Technique


@dataclass(frozen=True)
class ExponentialStd:
    """The standard deviation std 2^(-t / half_life) at update t."""

    std: float
    half_life: float

    def __call__(self, t: int) -> float:
        return self.std * 0.5 ** (t / self.half_life)


def exponential(std: float, half_life: float = 1_000.0) -> Contribution:
    """Return what the technique contributes: noise on the gradient.

    Raises:
        ValueError: If a value is out of range.
    """
    if not 0 <= std < math.inf:
        raise ValueError(f"std must be at least 0 and finite, but got {std=}.")
    if not 1 <= half_life < math.inf:
        raise ValueError(f"half_life must be at least 1 and finite, but got {half_life=}.")
    return Contribution(gradient=NoiseProcess.of(ExponentialStd(std, half_life)))


TECHNIQUE = Technique(
    name="exponential",
    description="Gaussian noise on every gradient that decays exponentially.",
    formula="g_t <- g_t + N(0, sigma_t^2), sigma_t = std 2^(-t / half_life)",
    source="an example of gradnoise",
    places=("gradient",),
    parameters=(
        Parameter(
            name="std",
            description="Standard deviation of the noise at step 0, in gradient units.",
            low=0,
        ),
        Parameter(
            name="half_life",
            description="Updates in which the standard deviation halves; 1000 by default.",
            low=1,
        ),
    ),
    contribute=exponential,
)
