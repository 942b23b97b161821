"""A study as the service describes it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.plan import Plan
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.domain.sequential import Extension
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.stop import Stop
from gradnoise_service.domain.study import Metric, StudyState
from gradnoise_service.domain.trial_errors import ArmError


class StudyInfo(BaseModel):
    """A submitted study.

    `warnings` states what the study as declared cannot show; `links` contains the paths of its
    page, report and Optuna Dashboard. `errors` has the first error of each arm that had one.
    `is_settling`: it has ended, and its trials are still to be ended. `queue` is given for a queued
    study, `plan` in the answer to a submission.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    owner: str
    state: StudyState
    workload: str
    priority: int = 0
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    spec: StudySpec
    spec_hash: str = ""
    metric: Metric
    verdict: str | None = None
    is_settling: bool = False
    stops: tuple[Stop, ...] = ()
    devices: DeviceChoice = "auto"
    tags: tuple[str, ...] = ()
    note: str = ""
    pruned_at: datetime | None = None
    n_seeds: int
    extensions: tuple[Extension, ...] = ()
    warnings: tuple[str, ...] = ()
    false_verdict_chance: float = 0.05
    errors: tuple[ArmError, ...] = ()
    queue: QueuePlace | None = None
    plan: Plan | None = None
    links: dict[str, str]

    def was_submitted_as(self, spec: StudySpec) -> bool:
        """True if the study was submitted with this spec; the description may differ."""
        submitted, other = (s.model_dump(exclude={"description"}) for s in (self.spec, spec))
        return submitted == other
