"""A trial as its design declares it, and the settings that trials run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradnoise_service.domain.space import Value
from gradnoise_service.domain.spec import Phase

Setting = Mapping[str, Value]
Settings = Mapping[str, Sequence[Setting | None]]
"""The settings to run, by arm, in the order of their trials; None where a search found too few."""

Stage = tuple[Phase, str, int]
"""A phase of one search: the phase, the arm, the number of the search."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial as its design declares it; `params` is None where the sampler proposes them."""

    phase: Phase
    arm: str
    number: int
    seed: int
    budget_epochs: int
    params: Setting | None = None
