"""The tables of a comparison: search trials, confirm runs, and a summary of each arm."""

from gradnoise_service.compare.facts.base import LOST, Frozen, Interval, Outcome
from gradnoise_service.domain.space import Value, is_number
from gradnoise_service.domain.spec import Phase


class Tally(Frozen):
    """How the `n_declared` trials of an arm in a phase ended; each is counted once.

    `n_diverged_later` counts those of the complete trials that diverged after the epoch whose value
    counts. `first_error` is what the first of those that failed raised, in one line.
    """

    n_declared: int
    n_complete: int
    n_diverged: int
    n_pruned: int
    n_failed: int
    n_diverged_later: int = 0
    device_seconds: float
    first_error: str = ""

    @property
    def n_ended(self) -> int:
        return self.n_complete + self.n_diverged + self.n_pruned + self.n_failed

    @property
    def n_lost(self) -> int:
        return self.n_diverged + self.n_failed

    @property
    def is_lost(self) -> bool:
        """Whether at least one trial is declared and every declared trial was lost."""
        return 0 < self.n_declared == self.n_lost

    @property
    def n_ever_diverged(self) -> int:
        """Trials that diverged, before or after the epoch whose value counts."""
        return self.n_diverged + self.n_diverged_later


NO_TRIALS = Tally(
    n_declared=0, n_complete=0, n_diverged=0, n_pruned=0, n_failed=0, device_seconds=0.0
)


class Reached(Frozen):
    """How many of `n` confirm runs are at least as good as a threshold, with Wilson's interval.

    A lost run never reaches a threshold.
    """

    threshold: float
    n_reached: int
    n: int
    interval: Interval


class Chosen(Frozen):
    """What one search chose for an arm, and the confirm runs of this setting.

    Args:
        setting: The chosen setting; without a search the arm's own values, in addition to the
            settings that all arms run. None without a complete trial.
        number: Of the search trial with this setting; None without one.
        value: Mean of the setting over its reruns on validation; the search's value where there
            were no reruns.
        search_value: Value of the setting in the search, selected for being the best.
        n: Confirm runs with a value.
        mean: Their mean on test data; a lost run counts as the metric's worst value.
    """

    setting: dict[str, Value] | None
    number: int | None = None
    value: float | None = None
    search_value: float | None = None
    n: int = 0
    mean: float | None = None


class ArmSummary(Frozen):
    """One arm: what each of its searches chose, and the results of its confirm runs.

    Median, lowest and highest are over the confirm runs on test data, the mean over the means of
    the searches; a lost run counts as the metric's worst value.
    """

    name: str
    techniques: tuple[str, ...]
    chosen: tuple[Chosen, ...]
    search: Tally
    rerun: Tally = NO_TRIALS
    confirm: Tally
    mean: float | None
    median: float | None
    lowest: float | None
    highest: float | None
    reached: tuple[Reached, ...] = ()

    @property
    def has_settings(self) -> bool:
        """Whether every search found a setting."""
        return all(chosen.setting is not None for chosen in self.chosen)

    @property
    def n_untuned(self) -> int:
        """Searches whose setting is that of a diverged trial, because no trial is complete."""
        return sum(c.number is not None and c.search_value is None for c in self.chosen)

    def values(self, name: str) -> list[Value]:
        """Return the chosen values of a parameter, a value for each search with a setting."""
        settings = [chosen.setting for chosen in self.chosen if chosen.setting is not None]
        return [setting[name] for setting in settings if name in setting]

    @property
    def tallies(self) -> dict[Phase, Tally]:
        """How the arm's trials ended, by phase."""
        return {"search": self.search, "rerun": self.rerun, "confirm": self.confirm}

    @property
    def device_seconds(self) -> float:
        """Device time of all trials of the arm."""
        return sum(tally.device_seconds for tally in self.tallies.values())


class SearchPoint(Frozen):
    """One search trial.

    `value` is the objective on validation, None where it is not finite; `best` is the best value of
    the complete trials of its search so far. `number` counts over all searches of the arm, `repeat`
    the searches from 0.
    """

    arm: str
    number: int
    repeat: int = 0
    seed: int
    outcome: Outcome
    value: float | None
    best: float | None
    params: dict[str, Value]
    device_seconds: float

    def numeric(self, name: str) -> float | None:
        """Return a hyperparameter if it is a number."""
        value = self.params.get(name)
        return float(value) if is_number(value) else None


class Run(Frozen):
    """One confirm run of an arm; a lost run has the comparison's worst value, others None."""

    outcome: Outcome
    value: float | None

    def reaches(self, threshold: float, sign: int) -> bool:
        """Return whether the run is at least as good as a threshold; a lost run never is.

        `sign` is the metric's: -1 where smaller is better.
        """
        return (
            self.outcome not in LOST
            and self.value is not None
            and sign * self.value >= sign * threshold
        )


class SeedRow(Frozen):
    """The runs of every arm on a confirm seed.

    `point` is the index of the setting that all arms ran, None where each arm has its own.
    """

    number: int
    seed: int
    point: int | None = None
    runs: dict[str, Run]


class PointRuns(Frozen):
    """An arm's `n` runs of a setting on test data; a lost run counts as the worst value.

    `spread` is the standard deviation, `reached` the counts at the study's thresholds.
    """

    n: int
    n_lost: int
    mean: float | None
    spread: float | None
    best: float | None
    reached: tuple[Reached, ...] = ()


class GridPoint(Frozen):
    """A setting of a study without a search, and every arm's runs of it."""

    params: dict[str, Value]
    runs: dict[str, PointRuns]
