"""Design: what a study will run, computed from its spec.

A tuned design searches each arm, reruns the best settings and confirms the chosen one. A grid
design, of a spec without a search, has the confirm phase alone and runs every combination of the
shared space's values on every seed.
"""

import functools
import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from gradnoise_service.domain.space import Choices, Range, Space, Value, fixed_values, points
from gradnoise_service.domain.spec import Arm, Phase, Search, StudySpec

ALPHA = 0.05
"""Error probability of a whole study, over all comparisons and looks."""

Setting = Mapping[str, Value]
Settings = Mapping[str, Sequence[Setting]]
"""The settings to run, by arm."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """`n_seeds` further confirm seeds, requested after `verdict` was given at `at_n` seeds."""

    n_seeds: int
    at_n: int
    verdict: str
    extended_at: datetime


@dataclass(frozen=True, kw_only=True)
class SearchKey:
    """Identifies an Optuna study: the search of one arm, or a later phase of all arms."""

    phase: Phase
    arm: str | None = None

    @property
    def label(self) -> str:
        """A name that is unique within the study: no arm's name has a space."""
        return self.arm or f"{self.phase} phase"


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial as its design declares it; `params` is None where the sampler proposes them."""

    phase: Phase
    arm: str
    number: int
    seed: int
    budget_epochs: int
    params: Setting | None = None


@dataclass(frozen=True, kw_only=True)
class Design(ABC):
    """What a study runs, with `n_seeds` confirm seeds.

    `extended_at` holds the numbers of seeds at which verdicts were given before each extension.
    """

    spec: StudySpec
    n_seeds: int
    extended_at: tuple[int, ...] = ()

    @staticmethod
    def of(spec: StudySpec, extensions: Sequence[Extension] = ()) -> "Design":
        """Return the design of a spec after its extensions."""
        kind = GridDesign if spec.search is None else TunedDesign
        last = extensions[-1] if extensions else None
        return kind(
            spec=spec,
            n_seeds=spec.confirm.n_seeds if last is None else last.at_n + last.n_seeds,
            extended_at=tuple(extension.at_n for extension in extensions),
        )

    # phases and trials

    @property
    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The phases in order."""

    @abstractmethod
    def n_trials(self, phase: Phase, arm: str) -> int:
        """Return how many trials an arm has in a phase, at most."""

    @abstractmethod
    def epochs(self, phase: Phase) -> int:
        """Return the budget of a trial of a phase."""

    @abstractmethod
    def rungs(self, phase: Phase) -> tuple[int, ...]:
        """Return the epochs, below the budget, at which the pruner decides."""

    @property
    @abstractmethod
    def n_settings(self) -> int:
        """Settings that each arm runs on every confirm seed."""

    @abstractmethod
    def trials(self, phase: Phase, settings: Settings | None = None) -> list[PlannedTrial]:
        """Return the trials of a phase by number, the arms side by side.

        Args:
            phase: One of `phases`.
            settings: Settings to rerun or confirm, by arm; an arm without an entry has no trials.
                A grid takes its own.
        """

    @property
    @abstractmethod
    def shared_settings(self) -> list[Setting]:
        """The settings that every arm runs; empty where each arm chooses its own."""

    @abstractmethod
    def own_setting(self, arm: str) -> Setting | None:
        """Return an arm's values in addition to the shared settings; None where a search chooses
        the arm's setting.
        """

    @property
    @abstractmethod
    def n_finalists(self) -> int:
        """Settings of each arm among which the chosen one is selected."""

    @property
    @abstractmethod
    def n_rerun_seeds(self) -> int:
        """Seeds on which each finalist is rerun; 0 without the rerun phase."""

    @property
    def n_pairs(self) -> int:
        """Confirm runs of each arm: run i * n_settings + k is setting k on seed i."""
        return self.n_seeds * self.n_settings

    @property
    def n_trials_total(self) -> int:
        return sum(self.n_trials(phase, arm.name) for phase, arm in self._cells())

    @property
    def n_epochs_total(self) -> int:
        return sum(
            self.n_trials(phase, arm.name) * self.epochs(phase) for phase, arm in self._cells()
        )

    def seed(self, phase: Phase, number: int) -> int:
        """Return the seed of a trial: the same in every arm, different in each phase."""
        digest = hashlib.blake2b(f"{self.spec.seed}/{phase}/{number}".encode(), digest_size=6)
        return int.from_bytes(digest.digest(), "big")

    # arms and Optuna studies

    @property
    def baseline(self) -> Arm:
        return self.spec.arms[0]

    @property
    def n_comparisons(self) -> int:
        """Arms that are compared with the baseline."""
        return len(self.spec.arms) - 1

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.spec.arms if arm.name == name)

    def space(self, arm: str) -> Space:
        """Return an arm's whole space, the shared parameters first."""
        return {**self.spec.space, **self.arm(arm).space}

    @property
    def search_keys(self) -> tuple[SearchKey, ...]:
        """The Optuna studies that record this study's trials."""
        return tuple(dict.fromkeys(search_key(phase, arm.name) for phase, arm in self._cells()))

    # looks, levels and extensions

    @property
    def looks(self) -> tuple[int, ...]:
        """The declared numbers of seeds at which a verdict is taken, the last included."""
        return (*self.spec.confirm.looks, self.spec.confirm.n_seeds)

    @property
    def is_sequential(self) -> bool:
        """Whether a verdict may be taken before the last declared seed."""
        return len(self.looks) > 1

    @property
    def is_last_look(self) -> bool:
        return bool(self.extended_at) or self.n_seeds >= self.looks[-1]

    def at(self, n_seeds: int) -> Self:
        """Return this design with another number of confirm seeds."""
        return replace(self, n_seeds=n_seeds)

    def at_look(self, n_declared: int) -> Self:
        """Return the design at the look for which `n_declared` confirm runs an arm are declared.

        Extensions follow the declared looks, so an extended design is at its last look.
        """
        if self.extended_at:
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
        return fewest_pairs(self.level)

    @property
    def earlier_looks(self) -> tuple[int, ...]:
        """Numbers of seeds, below these, at which a verdict was possible before an extension."""
        if not self.extended_at:
            return ()
        declared = (n for n in self.looks[:-1] if n <= min(self.extended_at))
        taken = sorted({*self.extended_at, *declared})
        return tuple(
            n
            for n in taken
            if n < self.n_seeds and fewest_pairs(self.level_at(n)) <= n * self.n_settings
        )

    @property
    def false_verdict_chance(self) -> float:
        """An upper bound on the probability that equal arms are called different at any look."""
        if not self.extended_at:
            return ALPHA
        from gradnoise_service.domain.looks import crossing_chance, two_sided_bound

        declared = self.looks if self.is_sequential else ()
        looks = sorted({*declared, *self.earlier_looks, self.n_seeds})
        bounds = [two_sided_bound(self.level_at(n)) for n in looks]
        return min(1.0, self.n_comparisons * crossing_chance(looks, bounds))

    def _cells(self) -> Iterator[tuple[Phase, Arm]]:
        return itertools.product(self.phases, self.spec.arms)

    def _plan(
        self, phase: Phase, numbered: Mapping[str, Iterator[tuple[int, Setting | None]]]
    ) -> list[PlannedTrial]:
        planned = [
            PlannedTrial(
                phase=phase,
                arm=arm,
                number=number,
                seed=self.seed(phase, number),
                budget_epochs=self.epochs(phase),
                params=params,
            )
            for arm, trials in numbered.items()
            for number, params in trials
        ]
        return sorted(planned, key=lambda trial: trial.number)

    def _confirm(self, settings: Settings) -> list[PlannedTrial]:
        return self._plan(
            "confirm", {arm: self._seed_by_seed(own) for arm, own in settings.items()}
        )

    def _seed_by_seed(self, settings: Sequence[Setting]) -> Iterator[tuple[int, Setting]]:
        return enumerate(setting for _ in range(self.n_seeds) for setting in settings)


class TunedDesign(Design):
    """Search, rerun (unless it is omitted), confirm."""

    @property
    def search(self) -> Search:
        assert self.spec.search is not None
        return self.spec.search

    @property
    def phases(self) -> tuple[Phase, ...]:
        return ("search", "rerun", "confirm") if self.search.rerun.is_on else ("search", "confirm")

    def n_trials(self, phase: Phase, arm: str) -> int:
        n_searched = self.arm(arm).n_trials or self.search.n_trials
        rerun = self.search.rerun
        match phase:
            case "search":
                return n_searched
            case "rerun":
                return min(rerun.top, n_searched) * rerun.n_seeds if rerun.is_on else 0
            case "confirm":
                return self.n_pairs

    def epochs(self, phase: Phase) -> int:
        return (phase == "confirm" and self.spec.confirm.epochs) or self.search.epochs

    def rungs(self, phase: Phase) -> tuple[int, ...]:
        if phase != "search":
            return ()
        pruner, epochs = self.search.pruner, self.search.epochs
        match pruner.name:
            case "none":
                return ()
            case "median":
                return tuple(range(pruner.warmup_epochs, epochs, pruner.every_epochs))
            case "asha":
                rungs = (
                    pruner.warmup_epochs * pruner.reduction_factor**k for k in itertools.count()
                )
                return tuple(itertools.takewhile(lambda epoch: epoch < epochs, rungs))

    @property
    def n_settings(self) -> int:
        return 1

    @property
    def shared_settings(self) -> list[Setting]:
        return []

    def own_setting(self, arm: str) -> None:
        return None

    @property
    def n_finalists(self) -> int:
        return self.search.rerun.top if self.search.rerun.is_on else 1

    @property
    def n_rerun_seeds(self) -> int:
        return self.search.rerun.n_seeds if self.search.rerun.is_on else 0

    def trials(self, phase: Phase, settings: Settings | None = None) -> list[PlannedTrial]:
        if phase == "search":
            arms = [arm.name for arm in self.spec.arms]
            return self._plan(phase, {arm: self._proposals(arm) for arm in arms})
        if settings is None:
            raise ValueError(f"the phase {phase} needs the settings that it runs")
        ordered = {arm.name: settings[arm.name] for arm in self.spec.arms if arm.name in settings}
        if phase == "confirm":
            return self._confirm(ordered)
        return self._plan(
            phase, {arm: self._setting_by_setting(own) for arm, own in ordered.items()}
        )

    def seed(self, phase: Phase, number: int) -> int:
        """Return the seed of a trial; reruns cycle through theirs: k * n_seeds + i has seed i."""
        if phase == "rerun":
            number %= self.search.rerun.n_seeds
        return super().seed(phase, number)

    def _proposals(self, arm: str) -> Iterator[tuple[int, None]]:
        return ((number, None) for number in range(self.n_trials("search", arm)))

    def _setting_by_setting(self, settings: Sequence[Setting]) -> Iterator[tuple[int, Setting]]:
        n_seeds = self.search.rerun.n_seeds
        return enumerate(setting for setting in settings for _ in range(n_seeds))


class GridDesign(Design):
    """Every arm runs every combination of the shared space's values, in the confirm phase alone."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        return ("confirm",)

    def n_trials(self, phase: Phase, arm: str) -> int:
        return self.n_pairs if phase == "confirm" else 0

    def epochs(self, phase: Phase) -> int:
        assert self.spec.confirm.epochs is not None
        return self.spec.confirm.epochs

    def rungs(self, phase: Phase) -> tuple[int, ...]:
        return ()

    @property
    def n_settings(self) -> int:
        searched = (e for e in self.spec.space.values() if isinstance(e, Range | Choices))
        return math.prod(entry.n_points or 1 for entry in searched)

    def trials(self, phase: Phase, settings: Settings | None = None) -> list[PlannedTrial]:
        return self._confirm({arm.name: self.settings(arm.name) for arm in self.spec.arms})

    @property
    def shared_settings(self) -> list[Setting]:
        """Every combination of the shared space's values."""
        names, entries = list(self.spec.space), self.spec.space.values()
        combinations = itertools.product(*map(points, entries))
        return [dict(zip(names, values, strict=True)) for values in combinations]

    def own_setting(self, arm: str) -> Setting:
        return fixed_values(self.arm(arm).space)

    @property
    def n_finalists(self) -> int:
        return 0

    @property
    def n_rerun_seeds(self) -> int:
        return 0

    def settings(self, arm: str) -> list[Setting]:
        """Return the settings of an arm: the shared ones with its own values."""
        own = self.own_setting(arm)
        return [{**setting, **own} for setting in self.shared_settings]


def search_key(phase: Phase, arm: str) -> SearchKey:
    """Return the Optuna study that records a trial of this phase and arm."""
    return SearchKey(phase=phase, arm=arm if phase == "search" else None)


def fewest_pairs(alpha: float) -> int:
    """Return the fewest pairs that can give a verdict at an error probability.

    n differences of one sign occur by chance with probability 2^(1 - n).

    >>> fewest_pairs(0.05), fewest_pairs(0.025)
    (6, 7)
    """
    return math.ceil(1 - math.log2(alpha))


@functools.cache
def _boundary(looks: tuple[int, ...], boundary: str, alpha: float) -> tuple[float, ...]:
    # imported with the first sequential study: without numpy the API process stays small
    from gradnoise_service.domain.looks import boundary_levels

    return boundary_levels(looks, boundary, alpha)
