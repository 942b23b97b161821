"""Annealed gradient noise for torch: attach it to an optimizer, or compare training with and without it."""

from gradnoise.hook import GradientNoise, attach
from gradnoise.schedules import Schedule, annealed, constant

__all__ = ["GradientNoise", "Schedule", "annealed", "attach", "constant"]
