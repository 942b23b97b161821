"""Design: what a study will run, computed from its spec.

A tuned design searches each arm, reruns the best settings and confirms the chosen one; all of it
several times, independently, if the search is repeated. A grid design, of a spec without a search,
has only the confirm phase and runs every combination of the shared space's values on every seed.
"""

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.budget import Costs, affordable
from gradnoise_service.domain.planned_trial import PlannedTrial, Setting, Settings
from gradnoise_service.domain.search import Search
from gradnoise_service.domain.search_key import SearchKey
from gradnoise_service.domain.seeds import hashed_seed
from gradnoise_service.domain.sequential import Extension, Sequential
from gradnoise_service.domain.space import Choices, Range, Space, fixed_values, points
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.stop import Stop


@dataclass(frozen=True, kw_only=True)
class Design(Sequential):
    """What a study runs: its phases, their trials, and the looks of the confirm phase."""

    @staticmethod
    def of(
        spec: StudySpec,
        extensions: Sequence[Extension] = (),
        costs: Costs | None = None,
        stops: Sequence[Stop] = (),
    ) -> "Design":
        """Return the design of a spec after its extensions and stops.

        `costs` is the measured device time of a search trial of each arm; None: not measured.
        """
        kind = GridDesign if spec.search is None else TunedDesign
        last = extensions[-1] if extensions else None
        design = kind(
            spec=spec,
            n_seeds=spec.confirm.n_seeds if last is None else last.at_n + last.n_seeds,
            extended_at=tuple(extension.at_n for extension in extensions),
            added_epochs=tuple(extension.n_epochs for extension in extensions),
            costs=spec.budget.costs or costs or {},
            stops=tuple(stops),
        )
        stop = design.ending_stop
        return design if stop is None else design.at(stop.n if stop.phase == "confirm" else 0)

    @property
    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The phases in order."""

    @abstractmethod
    def n_trials(self, phase: Phase, arm: str) -> int:
        """Return how many trials an arm has in a phase, at most."""

    @abstractmethod
    def epochs(self, phase: Phase) -> int:
        """Return the budget of a trial of a phase; in steps, the number of its reports."""

    @abstractmethod
    def rungs(self, phase: Phase) -> tuple[int, ...]:
        """Return the epochs, below the budget, at which the pruner decides."""

    @abstractmethod
    def trials(self, phase: Phase, settings: Settings | None = None) -> list[PlannedTrial]:
        """Return the trials of a phase by number, the arms side by side.

        Args:
            phase: One of `phases`.
            settings: Settings to rerun (`n_finalists` of each search) or to confirm (one of each
                search), by arm; None and an arm without an entry have no trials. A grid ignores
                them.
        """

    @property
    @abstractmethod
    def shared_settings(self) -> list[Setting]:
        """The settings that every arm runs; empty where each arm chooses its own."""

    @abstractmethod
    def own_setting(self, arm: str) -> Setting | None:
        """Return an arm's values in addition to the shared settings; None with a search."""

    @property
    @abstractmethod
    def n_finalists(self) -> int:
        """Settings of each search among which the chosen one is selected."""

    @abstractmethod
    def n_searched(self, arm: str) -> int:
        """Return the trials of each search of an arm."""

    @abstractmethod
    def lag(self, arm: str) -> int | None:
        """Return L of each search of an arm: trial i sees those below i - L; None without need.

        Where device time is equal, the arm with the fewest trials determines the L of every arm, so
        that equally many trials of each arm train at once.
        """

    @abstractmethod
    def place(self, phase: Phase, arm: str, number: int) -> tuple[int, int]:
        """Return the search, from 0, to which a trial belongs, and its position in it."""

    def n_declared(self, arm: str) -> int:
        """Return the declared trials of each search of an arm, before any stop."""
        return self.n_searched(arm)

    def counts(self, phase: Phase, arm: str, number: int) -> bool:
        """Return whether a trial counts: a stop excludes what not every arm had started."""
        if phase == "search":
            return self.place(phase, arm, number)[1] < self.n_searched(arm)
        return phase == "rerun" or self.ending_stop is None or number < self.n_pairs

    @property
    @abstractmethod
    def n_rerun_seeds(self) -> int:
        """Seeds on which each finalist is rerun; 0 without the rerun phase."""

    @property
    def confirm_lengths(self) -> tuple[int, ...]:
        """The budget of a confirm run as declared, then after each extension by epochs."""
        added = [n for n in self.added_epochs if n]
        declared = self.epochs("confirm") - sum(added)
        return tuple(itertools.accumulate(added, initial=declared))

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

    def seed(self, phase: Phase, arm: str, number: int) -> int:
        """Return the seed of a trial: the same in every arm, different in each phase and search."""
        repeat, position = self.place(phase, arm, number)
        return self._seed(phase, position, repeat)

    def _seed(self, phase: Phase, position: int, repeat: int) -> int:
        of_repeat = f"/{repeat}" if repeat else ""
        return hashed_seed(f"{self.spec.seed}/{phase}/{position}{of_repeat}")

    def sampler_seed(self, arm: str, repeat: int) -> int:
        """Return the seed of a search's sampler.

        It differs between arms: on equal settings equal arms agree, however much searches vary.
        """
        index = [other.name for other in self.spec.arms].index(arm)
        return hashed_seed(f"{self.spec.seed}/sampler/{index}/{repeat}")

    @property
    def baseline(self) -> Arm:
        return self.spec.arms[0]

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.spec.arms if arm.name == name)

    def space(self, arm: str) -> Space:
        """Return an arm's whole space, the shared parameters first."""
        return self.spec.recipe(self.arm(arm)).space

    @property
    def search_keys(self) -> tuple[SearchKey, ...]:
        """The Optuna studies that record this study's trials."""
        searches = (
            SearchKey(phase="search", arm=arm.name, repeat=repeat)
            for repeat in range(self.n_repeats)
            for arm in self.spec.arms
        )
        later = (SearchKey(phase=phase) for phase in self.phases if phase != "search")
        longer = (SearchKey(phase="confirm", epochs=n) for n in self.confirm_lengths[1:])
        return (*(searches if "search" in self.phases else ()), *later, *longer)

    def search_key(self, phase: Phase, arm: str, number: int) -> SearchKey:
        """Return the Optuna study that records a trial."""
        if phase == "confirm" and any(self.added_epochs):
            return SearchKey(phase=phase, epochs=self.epochs(phase))
        if phase != "search":
            return SearchKey(phase=phase)
        return SearchKey(phase=phase, arm=arm, repeat=self.place(phase, arm, number)[0])

    def _cells(self) -> Iterator[tuple[Phase, Arm]]:
        return itertools.product(self.phases, self.spec.arms)

    def _plan(
        self, phase: Phase, params: Mapping[str, Iterable[Setting | None]]
    ) -> list[PlannedTrial]:
        """Return trials numbered in the order of their settings, the searches side by side."""
        planned = [
            PlannedTrial(
                phase=phase,
                arm=arm,
                number=number,
                seed=self.seed(phase, arm, number),
                budget_epochs=self.epochs(phase),
                params=setting,
            )
            for arm, settings in params.items()
            for number, setting in enumerate(settings)
            if setting is not None or phase == "search"
        ]
        return sorted(planned, key=lambda t: self.place(t.phase, t.arm, t.number)[::-1])

    def _confirm(self, settings: Settings) -> list[PlannedTrial]:
        return self._plan(
            "confirm",
            {
                arm: itertools.islice(itertools.cycle(of_arm), self.n_pairs)
                for arm, of_arm in settings.items()
            },
        )


class TunedDesign(Design):
    """Search, rerun (unless it is omitted), confirm."""

    @property
    def search(self) -> Search:
        assert self.spec.search is not None
        return self.spec.search

    @property
    def phases(self) -> tuple[Phase, ...]:
        return ("search", "rerun", "confirm") if self.search.rerun.is_on else ("search", "confirm")

    @property
    def n_repeats(self) -> int:
        return self.search.repeats or 1

    def n_trials(self, phase: Phase, arm: str) -> int:
        match phase:
            case "search":
                return self.n_repeats * self.n_searched(arm)
            case "rerun":
                return self.n_repeats * self._n_reruns(arm)
            case "confirm":
                return self.n_pairs

    def n_searched(self, arm: str) -> int:
        cuts = ((stop.n, stop.n_declared) for stop in self.stops if stop.phase == "search")
        n, of = next(cuts, (1, 1))
        return self.n_declared(arm) * n // of

    def n_declared(self, arm: str) -> int:
        if self.costs:
            return affordable(self.search.n_trials, self.costs, arm)
        return self.arm(arm).n_trials or self.search.n_trials

    def lag(self, arm: str) -> int | None:
        is_common = self.spec.budget.equal == "device_seconds"
        arms = [each.name for each in self.spec.arms] if is_common else [arm]
        return self.search.lag_of(min(map(self.n_declared, arms)))

    def _n_reruns(self, arm: str) -> int:
        rerun = self.search.rerun
        return min(rerun.top, self.n_searched(arm)) * rerun.n_seeds if rerun.is_on else 0

    def place(self, phase: Phase, arm: str, number: int) -> tuple[int, int]:
        match phase:
            case "search":
                return divmod(number, self.n_declared(arm))
            case "rerun":
                return divmod(number, self._n_reruns(arm))
            case "confirm":
                return number % self.n_repeats, number

    def epochs(self, phase: Phase) -> int:
        epochs = self.search.epochs or self.spec.budget.n_reports
        assert epochs is not None  # the spec was validated
        if phase != "confirm":
            return epochs
        return (self.spec.confirm.epochs or epochs) + sum(self.added_epochs)

    def rungs(self, phase: Phase) -> tuple[int, ...]:
        return self.search.pruner.rungs(self.epochs(phase)) if phase == "search" else ()

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
            numbers = {arm: self.n_repeats * self.n_declared(arm) for arm in arms}
            declared = {arm: itertools.repeat(None, n) for arm, n in numbers.items()}
            planned = self._plan(phase, declared)
            return [trial for trial in planned if self.counts(phase, trial.arm, trial.number)]
        if settings is None:
            raise ValueError(f"the phase {phase} needs the settings that it runs")
        ordered = {arm.name: settings[arm.name] for arm in self.spec.arms if arm.name in settings}
        if phase == "confirm":
            return self._confirm(ordered)
        n_seeds = self.search.rerun.n_seeds
        return self._plan(
            phase,
            {
                arm: (setting for setting in of_arm for _ in range(n_seeds))
                for arm, of_arm in ordered.items()
            },
        )

    def seed(self, phase: Phase, arm: str, number: int) -> int:
        """Return the seed of a trial; reruns cycle through theirs: k * n_seeds + i has seed i."""
        repeat, position = self.place(phase, arm, number)
        if phase == "rerun":
            position %= self.search.rerun.n_seeds
        return self._seed(phase, position, repeat)


class GridDesign(Design):
    """Every arm runs every combination of the shared space's values, only in the confirm phase."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        return ("confirm",)

    @property
    def n_repeats(self) -> int:
        return 1

    def n_searched(self, arm: str) -> int:
        return 0

    def lag(self, arm: str) -> None:
        return None

    def place(self, phase: Phase, arm: str, number: int) -> tuple[int, int]:
        return 0, number

    def n_trials(self, phase: Phase, arm: str) -> int:
        return self.n_pairs if phase == "confirm" else 0

    def epochs(self, phase: Phase) -> int:
        epochs = self.spec.confirm.epochs or self.spec.budget.n_reports
        assert epochs is not None  # the spec was validated
        return epochs + sum(self.added_epochs)

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
        values = self.own_setting(arm)
        return [{**setting, **values} for setting in self.shared_settings]
