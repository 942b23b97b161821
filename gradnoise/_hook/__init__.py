"""Noise on the gradients of a torch optimizer."""

from gradnoise._hook.attach import attach
from gradnoise._hook.handle import GradientNoise

__all__ = ["GradientNoise", "attach"]
