"""Noise processes: what is added to the gradients of each update."""

from gradnoise._processes.anticorrelated import anticorrelated
from gradnoise._processes.independent import annealed, constant
from gradnoise._processes.preconditioned import preconditioned
from gradnoise._processes.process import NoiseProcess
from gradnoise._processes.ratio import noise_to_gradient
from gradnoise._processes.schedules import AnnealedStd, ConstantStd, Schedule

__all__ = [
    "AnnealedStd",
    "ConstantStd",
    "NoiseProcess",
    "Schedule",
    "annealed",
    "anticorrelated",
    "constant",
    "noise_to_gradient",
    "preconditioned",
]
