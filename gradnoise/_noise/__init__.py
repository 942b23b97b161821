"""The noise of a seed on named parameters, drawn and added in place."""

from gradnoise._noise.noise import Noise
from gradnoise._noise.stacked import StackedNoise

__all__ = ["Noise", "StackedNoise"]
