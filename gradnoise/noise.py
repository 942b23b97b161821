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
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        self._normals = Normals(seed, PURPOSE, sizes)
        self._drawn = torch.empty(sum(sizes.values()))
        parts = torch.split(self._drawn, list(sizes.values()))
        self._by_parameter = [part.view(tuple(shape)) for part, shape in zip(parts, shapes.values(), strict=True)]

    def draw(self, t: int, std: float) -> torch.Tensor:
        """Return N(0, std^2) for every parameter at step t, in order, flat and float32, on the CPU; the next draw reuses the tensor."""
        return torch.mul(torch.from_numpy(self._normals.draw(t)), std, out=self._drawn)

    def add_(self, gradients: Sequence[torch.Tensor], t: int, std: float) -> None:
        """Add the noise of step t to the gradients, given in the order of `shapes`, in place and each rounded to its own type."""
        self.draw(t, std)
        for gradient, noise in zip(gradients, self._by_parameter, strict=True):
            gradient.add_(noise.to(gradient.device))
