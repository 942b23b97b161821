"""A study as the service describes it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Extension, Metric, StudyState


class StudyInfo(BaseModel):
    """A submitted study; `links` holds the paths of its page, report and Optuna Dashboard."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    owner: str
    state: StudyState
    workload: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    spec: StudySpec
    metric: Metric
    verdict: str | None = None
    extensions: tuple[Extension, ...] = ()
    links: dict[str, str]

    @property
    def n_seeds(self) -> int:
        """The number of confirm seeds, extensions included."""
        return self.spec.confirm.n_seeds

    def was_submitted_as(self, spec: StudySpec) -> bool:
        """True if the study was submitted with this spec; the description may differ."""
        n_added = sum(extension.n_seeds for extension in self.extensions)
        confirm = self.spec.confirm.model_copy(update={"n_seeds": self.n_seeds - n_added})
        submitted = self.spec.model_copy(update={"confirm": confirm})
        return submitted.model_dump(exclude={"description"}) == spec.model_dump(
            exclude={"description"}
        )
