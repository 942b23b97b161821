"""Masks of dropout, as functions of seed, update and layer."""

from dataclasses import dataclass

import torch

from gradnoise._streams import normal

PURPOSE = "dropout"


@dataclass(frozen=True, kw_only=True)
class DropoutMasks:
    """The masks of inverted dropout: 1 / (1 - rate) where a draw of N(0, 1) exceeds the rate's
    quantile, else 0.

    Args:
        rate: Share of the activations that is dropped; in [0, 1).

    Raises:
        ValueError: If the rate is out of range.
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate must be in [0, 1), but got rate={self.rate}.")

    def draw(self, seed: int, t: int, name: str, activations: torch.Tensor) -> torch.Tensor:
        """Return the mask of a layer at update t, in the form of the activations; it depends on
        seed, t, the layer's name and the element alone.
        """
        normals = normal(seed, PURPOSE, t, name, activations.shape).to(activations.device)
        mask = torch.empty_like(activations)
        return mask.copy_(normals > quantile(self.rate)).div_(1 - self.rate)


def quantile(rate: float) -> float:
    """Return the value that a draw of N(0, 1) does not exceed with this probability."""
    return float(torch.special.ndtri(torch.tensor(rate, dtype=torch.float64)))
