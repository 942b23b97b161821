"""Noise for gradients: draw it and add it in place."""

import math
from collections.abc import Mapping, Sequence

import torch

from gradnoise.streams import Normals

PURPOSE = "noise"


class Noise:
    """The noise of one seed on a fixed set of parameters; the noise of a parameter depends on seed, step and its name alone.

    Args:
        seed: The trial's seed; at least 0.
        shapes: The parameters' shapes by name.
    """

    def __init__(self, seed: int, shapes: Mapping[str, Sequence[int]]) -> None:
        self._sizes = [math.prod(shape) for shape in shapes.values()]
        self._normals = Normals(seed, PURPOSE, dict(zip(shapes, self._sizes, strict=True)))

    def draw(self, t: int, std: float) -> torch.Tensor:
        """Return N(0, std^2) for every parameter at step t, one after the other, as a flat float32 tensor on the CPU."""
        return torch.from_numpy(self._normals.draw(t)).mul_(std)

    def add_(self, gradients: Sequence[torch.Tensor], t: int, std: float) -> None:
        """Add the noise of step t to the gradients, in the order of `shapes`, in place, each in its own type and on its own device."""
        drawn = torch.split(self.draw(t, std), self._sizes)
        for gradient, noise in zip(gradients, drawn, strict=True):
            gradient.add_(noise.view(gradient.shape).to(gradient.device, gradient.dtype))
