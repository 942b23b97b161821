"""The looks of a study: at how many seeds verdicts are taken, with which error probability."""

import functools
import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import NormalDist
from typing import Self

from gradnoise_service.domain.budget import Costs
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.stop import Stop

ALPHA = 0.05
"""Error probability of a whole study, over all comparisons and looks."""
BETS = tuple(2.0**-k for k in range(8))
"""Bets of an always-valid verdict, in standard deviations of the differences."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """`n_seeds` further confirm seeds, requested after `verdict` was given at `at_n` seeds.

    Or `n_epochs` further epochs of each confirm run; one of the two is 0.
    `accepts_changed_code`: the further runs may be of other code; the report then says so.
    """

    n_seeds: int
    at_n: int
    verdict: str
    extended_at: datetime
    accepts_changed_code: bool = False
    n_epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class Sequential(ABC):
    """The confirm phase at `n_seeds` seeds, as a sequence of looks.

    `extended_at` holds the numbers of seeds at which verdicts were given before each extension,
    `added_epochs` the epochs that each added to the confirm runs (0 where it added seeds), `costs`
    the device time of a search trial of each arm, where this is to be equal and is known, `stops`
    what stops on request have cut.
    """

    spec: StudySpec
    n_seeds: int
    extended_at: tuple[int, ...] = ()
    added_epochs: tuple[int, ...] = ()
    costs: Costs = field(default_factory=dict)
    stops: tuple[Stop, ...] = ()

    @property
    @abstractmethod
    def n_settings(self) -> int:
        """Settings that each arm runs on every confirm seed."""

    @property
    @abstractmethod
    def n_repeats(self) -> int:
        """Independent searches of each arm; 1 without a search."""

    @property
    def n_comparisons(self) -> int:
        """Arms that are compared with the baseline."""
        return len(self.spec.arms) - 1

    @property
    def looks(self) -> tuple[int, ...]:
        """The declared numbers of seeds at which a verdict is taken, the last included."""
        return (*self.spec.confirm.looks, self.spec.confirm.n_seeds)

    @property
    def is_sequential(self) -> bool:
        """Whether a verdict may be taken before the last declared seed."""
        return len(self.looks) > 1

    @property
    def is_anytime(self) -> bool:
        """Whether the verdict is valid at every number of seeds."""
        return self.spec.confirm.anytime

    @property
    def ending_stop(self) -> Stop | None:
        """The stop after which the study ends; None if none does, or it was extended since."""
        last = self.stops[-1] if self.stops else None
        is_ending = last and not last.confirms and last.n_extensions == len(self.extended_at)
        return last if is_ending else None

    @property
    def is_last_look(self) -> bool:
        is_over = bool(self.extended_at) or self.ending_stop is not None
        return is_over or self.n_seeds >= self.looks[-1]

    @property
    def drops(self) -> bool:
        """Whether an arm may stop at a look while others continue."""
        return self.spec.confirm.drop is not False and self.is_sequential and self.n_comparisons > 1

    @property
    def passed_looks(self) -> tuple[Self, ...]:
        """The design at each declared look after which runs followed, before any extension."""
        end = min((self.n_seeds, *self.extended_at))
        return tuple(replace(self, n_seeds=n, extended_at=()) for n in self.looks if n < end)

    def at(self, n_seeds: int) -> Self:
        """Return this design with another number of confirm seeds."""
        return replace(self, n_seeds=n_seeds)

    def extended(self, n_seeds: int) -> Self:
        """Return this design after an extension by a number of confirm seeds."""
        return replace(
            self,
            n_seeds=self.n_seeds + n_seeds,
            extended_at=(*self.extended_at, self.n_seeds),
            added_epochs=(*self.added_epochs, 0),
        )

    def lengthened(self, n_epochs: int) -> Self:
        """Return this design after an extension of each confirm run by a number of epochs."""
        return replace(
            self,
            extended_at=(*self.extended_at, self.n_seeds),
            added_epochs=(*self.added_epochs, n_epochs),
        )

    def at_look(self, n_declared: int) -> Self:
        """Return the design at the look for which `n_declared` confirm runs an arm are declared.

        Extensions follow the declared looks, so an extended design is at its last look.
        """
        if self.extended_at or self.ending_stop is not None:
            return self
        fitting = (n for n in self.looks if n * self.n_settings >= n_declared)
        return self.at(next(fitting, self.looks[-1]))

    def after_look(self) -> Self:
        """Return the design at the next declared look."""
        return self.at(next(n for n in self.looks if n > self.n_seeds))

    @property
    def alpha(self) -> float:
        """Error probability of each comparison, over all looks (Bonferroni over comparisons)."""
        return ALPHA / self.n_comparisons

    @property
    def level(self) -> float:
        """Error probability of each comparison at these seeds."""
        return self.level_at(self.n_seeds)

    def level_at(self, n_seeds: int) -> float:
        """Return the error probability of each comparison at a number of seeds.

        With declared looks it is the nominal level of the look; beyond the last look, to which a
        study was extended, that of the last.
        """
        if not self.is_sequential:
            return self.alpha
        return dict(zip(self.looks, self.levels, strict=True)).get(n_seeds, self.levels[-1])

    @property
    def levels(self) -> tuple[float, ...]:
        """The nominal level of each declared look; together they err with probability `alpha`."""
        return _boundary(self.looks, self.spec.confirm.boundary, self.alpha)

    @property
    def fewest_pairs(self) -> int:
        """The fewest pairs of runs that can give a verdict at these seeds."""
        return self.fewest_pairs_at(self.n_seeds)

    def fewest_pairs_at(self, n_seeds: int) -> int:
        """Return the fewest pairs of runs that can give a verdict at a number of seeds.

        Repeated searches are compared by the mean of each, so one pair of each suffices.
        """
        if self.n_repeats > 1:
            return self.n_repeats
        fewest = fewest_anytime_pairs if self.is_anytime else fewest_pairs
        return fewest(self.level_at(n_seeds))

    @property
    def earlier_looks(self) -> tuple[int, ...]:
        """Numbers of seeds, below these, at which a verdict was possible before an extension.

        Empty if the verdict is valid at every number of seeds.
        """
        if self.is_anytime or not self.extended_at:
            return ()
        declared = (n for n in self.looks[:-1] if n <= min(self.extended_at))
        taken = sorted({*self.extended_at, *declared})
        return tuple(
            n for n in taken if n < self.n_seeds and self.fewest_pairs_at(n) <= n * self.n_settings
        )

    @property
    def false_verdict_chance(self) -> float:
        """The probability that equal arms are called different at any look, before it is taken.

        Computed for normal sums of the differences, and added over the comparisons and over the
        lengths of the confirm runs: the verdicts on runs of one length are on growing sums. For any
        distribution it is at most the sum of the levels of all looks. A stop on request may depend
        on what was seen, so that every number of seeds counts as a look.
        """
        cuts = [stop.n_declared for stop in self.stops if stop.phase == "confirm"]
        if not (self.extended_at or cuts):
            return ALPHA
        looks_of_lengths = self._looks_of_lengths
        if self.is_anytime:
            return min(1.0, ALPHA * len(looks_of_lengths))
        if cuts:
            first = -(-self.fewest_pairs // self.n_settings)
            last = max(*cuts, self.n_seeds, first)
            chance = len(looks_of_lengths) * chance_at_any(first, last, self.alpha)
            return min(1.0, self.n_comparisons * chance)
        chance = sum(
            _crossing_chance(looks, tuple(map(self.level_at, looks))) for looks in looks_of_lengths
        )
        return min(1.0, self.n_comparisons * chance)

    @property
    def _looks_of_lengths(self) -> list[tuple[int, ...]]:
        """The looks, for each length of the confirm runs at which a verdict was possible."""
        parts = [set(self.looks if self.is_sequential else ())]
        for n_seeds, n_epochs in itertools.zip_longest(
            self.extended_at, self.added_epochs, fillvalue=0
        ):
            if self.fewest_pairs_at(n_seeds) <= n_seeds * self.n_settings:
                parts[-1].add(n_seeds)
            if n_epochs:
                parts.append(set())
        parts[-1].add(self.n_seeds)
        return [tuple(sorted(part)) for part in parts if part]


def chance_at_any(first: int, last: int, alpha: float) -> float:
    """Return a bound of the probability that |z| crosses that of a level at any number of seeds.

    4 phi(b) / b + phi(b) (b - 1/b) ln(last / first) for a Brownian motion between first and last,
    with the two-sided bound b of the level (Miller and Siegmund 1982, Biometrics 38:1011).

    Args:
        first: The fewest seeds, at least 1.
        last: The most seeds, at least `first`.
        alpha: Two-sided error probability at each number, in (0, 1).

    >>> round(chance_at_any(6, 20, 0.05), 3)
    0.221
    """
    b = NormalDist().inv_cdf(1 - alpha / 2)
    density = NormalDist().pdf(b)
    return min(1.0, 4 * density / b + density * (b - 1 / b) * math.log(last / first))


def fewest_pairs(alpha: float) -> int:
    """Return the fewest pairs that can give a verdict at an error probability.

    n differences of one sign occur by chance with probability 2^(1 - n).

    >>> fewest_pairs(0.05), fewest_pairs(0.025)
    (6, 7)
    """
    return math.ceil(1 - math.log2(alpha))


def fewest_anytime_pairs(alpha: float) -> int:
    """Return the fewest pairs whose always-valid interval is bounded, for any differences.

    Far from all n differences the e-value is the mean over the bets c of the product over i <= n of
    2 / (1 + exp(-2 c sqrt(i))), with weights proportional to sqrt(c) (`compare.anytime`).

    Args:
        alpha: Two-sided error probability, in (0, 1).

    >>> fewest_anytime_pairs(0.05), fewest_anytime_pairs(0.025)
    (7, 8)
    """
    weights, n = [math.sqrt(bet) for bet in BETS], 0
    products = weights
    while sum(products) <= 2 / alpha * sum(weights):
        n += 1
        factors = (2 / (1 + math.exp(-2 * bet * math.sqrt(n))) for bet in BETS)
        products = [product * factor for product, factor in zip(products, factors, strict=True)]
    return n


@functools.lru_cache(256)
def _crossing_chance(looks: tuple[int, ...], levels: tuple[float, ...]) -> float:
    if len(looks) == 1:  # without the rounding of a bound
        return levels[0]
    # imported with the first extended study: without numpy the API process stays small
    from gradnoise_service.domain.looks import crossing_chance, two_sided_bound

    return crossing_chance(looks, list(map(two_sided_bound, levels)))


@functools.lru_cache(256)
def _boundary(looks: tuple[int, ...], boundary: str, alpha: float) -> tuple[float, ...]:
    # imported with the first sequential study: without numpy the API process stays small
    from gradnoise_service.domain.looks import boundary_levels

    return boundary_levels(looks, boundary, alpha)
