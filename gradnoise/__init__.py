"""Gradient noise for torch: attach it to an optimizer, or compare training with and without it."""

from gradnoise.hook import GradientNoise, attach
from gradnoise.noise import NoiseProcess
from gradnoise.schedules import Schedule, annealed, constant
from gradnoise.techniques.anticorrelated import anticorrelated
from gradnoise.techniques.preconditioned import preconditioned

__all__ = [
    "GradientNoise",
    "NoiseProcess",
    "Schedule",
    "annealed",
    "anticorrelated",
    "attach",
    "constant",
    "preconditioned",
]
