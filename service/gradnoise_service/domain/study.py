"""What the service knows of a study and its trials: values without behaviour, read from the store,
passed everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gradnoise_service.domain.spec import Phase, StudySpec, Value

StudyState = Literal["queued", "running", "complete", "cancelled", "failed"]
TrialState = Literal["waiting", "running", "complete", "pruned", "failed", "cancelled"]
Direction = Literal["maximize", "minimize"]

STUDY_ENDED: tuple[StudyState, ...] = ("complete", "cancelled", "failed")
TRIAL_ENDED: tuple[TrialState, ...] = ("complete", "pruned", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a workload measures; `worst` is what a diverged or failed trial counts as."""

    name: str
    direction: Direction
    worst: float
    description: str = ""

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True, kw_only=True)
class Extension:
    """`n_seeds` further confirm seeds, asked for after `verdict` had been given at `at_n` of them."""

    n_seeds: int
    at_n: int
    verdict: str
    extended_at: datetime


@dataclass(frozen=True, kw_only=True)
class Study:
    """A submitted study. `metric` is the objective as the workload declares it; `protocol` holds
    versions, formula and orders of what ran; `verdict` is the first compared arm's, once there is
    one; `comparison` is the stored comparison as JSON values, once there is one. Of an extended
    study `spec` has all the seeds, `started_at` is when the extension started, and `extensions`
    tells what was before.
    """

    id: int
    owner: str
    spec: StudySpec
    metric: Metric
    state: StudyState
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    verdict: str | None = None
    protocol: Mapping[str, object] = field(default_factory=dict)
    comparison: Mapping[str, object] | None = None
    extensions: tuple[Extension, ...] = ()

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of confirm seeds at which verdicts were given before."""
        return tuple(extension.at_n for extension in self.extensions)

    @property
    def n_judged(self) -> int:
        """The number of confirm seeds of the verdict that is stored: fewer than declared where a
        look has ended the study.
        """
        # of a Comparison
        plan: Mapping[str, int] | None = (self.comparison or {}).get("plan")  # type: ignore[assignment]
        return plan["n_seeds"] if plan else self.spec.confirm.n_seeds

    @property
    def has_ended(self) -> bool:
        return self.state in STUDY_ENDED


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a study. `number` counts from 0 within phase and arm; trials of equal phase
    and number share their seed across arms.

    `value` is the objective: on validation in the search and rerun phases, on test in the confirm
        phase; a diverged or failed trial has the
    metric's worst. A trial that ended with its study is `cancelled`: it is no result.
    `device_seconds` sums over all attempts. `error` is the last attempt's traceback.
    """

    id: int
    study_id: int
    phase: Phase
    arm: str
    number: int
    seed: int
    budget_epochs: int
    state: TrialState
    params: Mapping[str, Value] | None = None
    value: float | None = None
    diverged: bool = False
    epochs: int = 0
    n_attempts: int = 0
    device_seconds: float = 0.0
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in TRIAL_ENDED


@dataclass(frozen=True, kw_only=True)
class EpochMean:
    """Means over the `n` complete confirm runs of an arm after an epoch: the objective on
    validation, and the norm of the noise over that of the gradient. None where nothing was
    measured.
    """

    arm: str
    epoch: int
    n: int
    value: float | None
    noise_to_gradient: float | None


@dataclass(frozen=True, kw_only=True)
class ArmProgress:
    """How far one arm is in one phase. `best_value` is the best so far among ended trials, None
    before the first.
    """

    arm: str
    phase: Phase
    n_trials: int
    n_ended: int
    n_running: int
    n_pruned: int
    n_failed: int
    n_diverged: int
    best_value: float | None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A study's state at one moment; `seconds_left` is an estimate from the rate so far, None while
    there is none.
    """

    study_id: int
    name: str
    state: StudyState
    arms: tuple[ArmProgress, ...]
    seconds_left: float | None
    verdict: str | None
    error: str | None
