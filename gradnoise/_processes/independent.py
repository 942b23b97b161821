"""Noise that is independent at every update: annealed and constant."""

from gradnoise._processes.process import NoiseProcess
from gradnoise._processes.schedules import AnnealedStd, ConstantStd


def annealed(eta: float, gamma: float) -> NoiseProcess:
    """Return annealed gradient noise, g_t <- g_t + N(0, eta / (1 + t)^gamma).

    The method of Neelakantan et al. 2015, arXiv:1511.06807.

    Args:
        eta: Variance of the noise at t = 0, in squared gradient units; at least 0.
        gamma: Decay exponent, dimensionless; at least 0. The paper uses 0.55.

    Raises:
        TypeError: If eta or gamma is no number.
        ValueError: If eta or gamma is negative or not finite.

    >>> process = annealed(eta=0.01, gamma=0.55)
    >>> round(process.std(0), 4), round(process.std(99), 4)
    (0.1, 0.0282)
    """
    return NoiseProcess.of(AnnealedStd(eta, gamma))


def constant(std: float) -> NoiseProcess:
    """Return gradient noise of constant size, g_t <- g_t + N(0, std^2).

    The fixed noise that Neelakantan et al. 2016, openreview rkjZ2Pcxe, compare annealing with.

    Args:
        std: Standard deviation at every update, in gradient units; at least 0.

    Raises:
        TypeError: If std is no number.
        ValueError: If std is negative or not finite.

    >>> constant(std=0.1).std(1_000)
    0.1
    """
    return NoiseProcess.of(ConstantStd(std))
