"""What there is to do and what is being done, over all owners."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.study import STUDY_ENDED
from gradnoise_service.store import dispatchers
from gradnoise_service.store.lease_times import is_valid
from gradnoise_service.store.tables import STUDY, TRIAL


@dataclass(frozen=True, kw_only=True)
class Load:
    """The work of a service at a time.

    Attributes:
        studies: Number of studies by state.
        trials: Number of trials by state, of the studies that have not ended.
        oldest_queued_at: When the study that has waited longest was submitted.
        n_dispatchers: Dispatchers that are alive.
        devices: Their devices by kind, `gpu` or `core`.
        busy: Those of them that train a study, by kind.
    """

    studies: Mapping[str, int]
    trials: Mapping[str, int]
    oldest_queued_at: datetime | None
    n_dispatchers: int
    devices: Mapping[str, int]
    busy: Mapping[str, int]


def read(session: Session, now: datetime) -> Load:
    """Return the load; a study has a worker on every device that it may use."""
    exists = STUDY.c.deleted_at.is_(None)
    studies = select(STUDY.c.state, func.count()).where(exists).group_by(STUDY.c.state)
    active = select(STUDY.c.id).where(exists, STUDY.c.state.not_in(STUDY_ENDED))
    trials = (
        select(TRIAL.c.state, func.count())
        .where(TRIAL.c.study_id.in_(active))
        .group_by(TRIAL.c.state)
    )
    oldest = select(STUDY.c.created_at).where(exists, STUDY.c.state == "queued")
    held = select(STUDY.c.acquired_by, STUDY.c.devices).where(
        is_valid(STUDY, now), STUDY.c.lease_token.is_not(None)
    )
    live = {info.id: info.devices for info in dispatchers.live(session, now)}
    devices, used = Counter({"gpu": 0, "core": 0}), set()
    for found in live.values():
        devices.update(gpu=found.n_gpus, core=found.n_cores)
    for holder, choice in session.execute(held):
        if holder in live:
            has_gpus = live[holder].n_gpus > 0
            used |= {(holder, "gpu")} if choice != "cpu" and has_gpus else set()
            used |= {(holder, "core")} if choice in ("cpu", "all") or not has_gpus else set()
    busy = Counter({"gpu": 0, "core": 0})
    for holder, kind in used:
        busy[kind] += live[holder].n_gpus if kind == "gpu" else live[holder].n_cores
    return Load(
        studies=_counted(session, studies),
        trials=_counted(session, trials),
        oldest_queued_at=session.scalar(oldest.order_by(STUDY.c.created_at).limit(1)),
        n_dispatchers=len(live),
        devices=devices,
        busy=busy,
    )


def _counted(session: Session, query: Select[str, int]) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(query)}
