"""Lines of a list of studies, and its orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gradnoise_service.domain.study import STUDY_ENDED, StudyState, Verdict

Order = Literal["newest", "oldest", "name", "ended", "effect"]
ORDERS: Mapping[Order, str] = {
    "newest": "newest first",
    "oldest": "oldest first",
    "name": "by name",
    "ended": "last ended first",
    "effect": "largest effect first",
}


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The gain of the first compared arm, in units of the metric; above 0 is better.

    Args:
        low, high: Its interval; None without one.
        level: Of the interval.
    """

    arm: str
    metric: str
    gain: float
    low: float | None
    high: float | None
    level: float | None


@dataclass(frozen=True, kw_only=True)
class StudyLine:
    """What a list shows of a study; `effect` is None before it is complete."""

    id: int
    name: str
    owner: str
    state: StudyState
    workload: str
    arms: tuple[str, ...]
    tags: tuple[str, ...]
    created_at: datetime
    error: str | None
    verdict: Verdict | None
    effect: Effect | None

    @property
    def has_ended(self) -> bool:
        return self.state in STUDY_ENDED


@dataclass(frozen=True, kw_only=True)
class FilterChoices:
    """The values that visible studies have, for the filters of their list."""

    workloads: tuple[str, ...]
    owners: tuple[str, ...]
    tags: tuple[str, ...]
