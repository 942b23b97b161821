"""Gradient noise that is not annealed."""

from gradnoise import schedules
from gradnoise.noise import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import on_gradient


def constant(std: float) -> NoiseProcess:
    """Return gradient noise of one size: g_t <- g_t + N(0, std^2) (Neelakantan et al. 2016,
    openreview rkjZ2Pcxe).

    Args:
        std: Standard deviation at every update, in gradient units; at least 0.

    Raises:
        ValueError: If std is negative or not finite.

    >>> [(t, std)] = constant(std=0.1).terms(7)
    >>> t, std
    (7, 0.1)
    """
    return NoiseProcess.of(schedules.constant(std))


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
