"""The luck of a single search, and searches that are too small for their space."""

from typing import Literal

from gradnoise_service.compare.facts.base import Frozen, Interval
from gradnoise_service.domain.search import SamplerName


class SearchLuck(Frozen):
    """How far repeating both searches could move a difference.

    Args:
        sd: Standard deviation of the true value at the setting that a repeated search of the arm
            chooses.
        baseline_sd: The same for the baseline.
        reach: Half-width of the interval that the searches alone would give the difference.
        interval: Of the difference, arm minus baseline, over searches and seeds.
    """

    sd: float
    baseline_sd: float
    reach: float
    interval: Interval


class RepeatedSearch(Frozen):
    """Repeating the searches of an arm and the baseline could move their difference."""

    kind: Literal["repeated_search"] = "repeated_search"
    arm: str
    baseline: str
    sampler: SamplerName
    luck: SearchLuck


class UnknownLuck(Frozen):
    """The luck of an arm's search cannot be estimated.

    It has fewer complete trials than needed, or the better half of them has the same value.
    """

    kind: Literal["unknown_luck"] = "unknown_luck"
    arm: str
    n_complete: int
    n_needed: int


class SmallSearch(Frozen):
    """An arm was tuned with fewer trials than its number of searched parameters requires."""

    kind: Literal["small_search"] = "small_search"
    arm: str
    n_trials: int
    n_parameters: int
    n_needed: int


class IgnoredBySampler(Frozen):
    """What the sampler of a study's searches does not use.

    Args:
        sampler: Its name.
        choices: The parameters of each arm whose choices it draws at random.
        n_random: First trials of a search that it draws at random, if they are all its trials.
        pruned: Whether it leaves out the pruned trials of a study with a pruner.
    """

    kind: Literal["ignored_by_sampler"] = "ignored_by_sampler"
    sampler: SamplerName
    choices: dict[str, tuple[str, ...]]
    n_random: int
    pruned: bool


class FewNearBest(Frozen):
    """Few complete search trials of an arm came within the smallest difference of its best.

    `n_near` of the `n_complete` did, the best included.
    """

    kind: Literal["few_near_best"] = "few_near_best"
    arm: str
    n_near: int
    n_complete: int
    best: float


class StrictLook(Frozen):
    """A look whose level is very strict for the searches that it compares.

    It needs a difference `times` as large as a single verdict on as many searches does.
    """

    kind: Literal["strict_look"] = "strict_look"
    n_seeds: int
    n_searches: int
    level: float
    times: float


class TooFewSeeds(Frozen):
    """The declared confirm runs give fewer pairs than any verdict requires."""

    kind: Literal["too_few_seeds"] = "too_few_seeds"
    n_pairs: int
    n_needed: int
