"""Studies, trials and measurements as the store returns them: values without behaviour."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.search_key import SearchKey
from gradnoise_service.domain.sequential import Extension
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.stop import Stop

StudyState = Literal[
    "queued", "running", "stopping", "pausing", "paused", "complete", "cancelled", "failed"
]
TrialState = Literal["waiting", "running", "complete", "pruned", "failed", "cancelled"]
Direction = Literal["maximize", "minimize"]
Verdict = Literal["helps", "hurts", "no_difference", "undecided"]

STUDY_ENDED: tuple[StudyState, ...] = ("complete", "cancelled", "failed")
STUDY_HELD: tuple[StudyState, ...] = ("running", "stopping", "pausing")
"""The states in which a dispatcher holds a study, or held it when it died."""
TRIAL_ENDED: tuple[TrialState, ...] = ("complete", "pruned", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a workload measures, on test data only if `has_test`.

    `worst` is what a lost trial counts as at least, `best` the best possible value, None where the
    two do not bound the metric.
    """

    name: str
    direction: Direction
    worst: float
    description: str = ""
    best: float | None = None
    has_test: bool = True

    @property
    def split(self) -> Literal["test", "validation"]:
        """The data on which confirm runs are judged."""
        return "test" if self.has_test else "validation"

    @property
    def range(self) -> float | None:
        """The largest possible difference of two values; None for an unbounded metric."""
        return None if self.best is None else abs(self.best - self.worst)

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True, kw_only=True)
class Study:
    """A submitted study.

    Args:
        spec: As submitted; `design` accounts for the extensions.
        metric: The objective, as the workload declares it.
        priority: Studies of higher priority start first; at submission that of the spec.
        started_at: Start of the study, or of its last extension or resumption.
        verdict: Verdict on the first compared arm; None before the study is complete.
        protocol: Versions, formulas and the order of operations of what ran; also the measured
            `search_costs`, where device seconds are equal.
        comparison: The stored comparison as JSON values; None before the study is complete, and
            where the study was read without it.
        source_name: Name of the file that declares the workload; None for an installed workload.
        devices: Where its trials train; not auto once the study has started.
        pruned_at: When its logs, files and checkpoints were removed because of their age.
        stops: What stops on request have cut.
        is_settled: Whether its trials have ended too, here and in Optuna, if it has ended.
        tags, note: The owner's remarks, which may change at any time.
        has_errors: Whether one of its trials has an error; also true where this was not read.
    """

    id: int
    owner: str
    spec: StudySpec
    metric: Metric
    state: StudyState
    created_at: datetime
    priority: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    verdict: str | None = None
    protocol: Mapping[str, object] = field(default_factory=dict)
    comparison: Mapping[str, object] | None = None
    extensions: tuple[Extension, ...] = ()
    source_name: str | None = None
    devices: DeviceChoice = "auto"
    is_settled: bool = True
    stops: tuple[Stop, ...] = ()
    tags: tuple[str, ...] = ()
    note: str = ""
    pruned_at: datetime | None = None
    has_errors: bool = field(default=True, compare=False)

    def __hash__(self) -> int:
        return hash(self.id)

    @functools.cached_property
    def design(self) -> Design:
        costs = self.protocol.get("search_costs")
        measured = costs if isinstance(costs, Mapping) else None
        return Design.of(self.spec, self.extensions, measured, self.stops)

    @property
    def has_ended(self) -> bool:
        return self.state in STUDY_ENDED

    @property
    def is_settling(self) -> bool:
        """Whether it has ended and its trials have not."""
        return self.has_ended and not self.is_settled

    def search_name(self, key: SearchKey) -> str:
        """Return the name of an Optuna study; the id distinguishes studies of several owners."""
        return f"{self.spec.name} ({self.id}) · {key.label}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a study.

    Args:
        number: Counts from 0 within phase and arm; trials of equal phase and number share their
            seed across arms.
        params: The setting; None until the sampler has proposed it.
        value: The objective, on validation in the search and rerun phases and on test in the
            confirm phase; a lost trial has the metric's worst value.
        diverged: Whether it diverged; where the best epoch on validation is judged, `value` is then
            that of its best epoch, if it measured one.
        device_seconds: Device time of all attempts.
        error: Traceback of the last attempt.
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

    @property
    def path(self) -> str:
        """The trial as `phase/arm/number`."""
        return f"{self.phase}/{self.arm}/{self.number}"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metric values of a trial after an epoch (from 1); a value that was not finite is None.

    `seconds` is the device time of the epoch.
    """

    trial_id: int
    epoch: int
    values: Mapping[str, float | None]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrialFile:
    """A file that a trial has saved.

    Args:
        sha256: Hash of its content.
        trial: The trial as `phase/arm/number`.
    """

    trial_id: int
    name: str
    n_bytes: int
    sha256: str
    trial: str = ""

    @property
    def place(self) -> str:
        """Its path in the folder of the study."""
        return f"{self.trial_id}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class EpochMean:
    """Means over the `n` complete confirm runs of an arm after an epoch.

    Args:
        value: Mean of the objective on validation; None if it was not measured.
        noise_to_gradient: Mean ratio of the noise's norm to the gradient's; None without noise.
    """

    arm: str
    epoch: int
    n: int
    value: float | None
    noise_to_gradient: float | None
