"""The queue of studies: which is due, in which order, and where a study stands."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session, aliased

from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.store import dispatchers
from gradnoise_service.store.tables import StudyRow


def is_due(now: datetime) -> ColumnElement[bool]:
    """Return the condition on a study to be due: queued, or running under an expired lease."""
    is_free = or_(StudyRow.acquired_until.is_(None), StudyRow.acquired_until < now)
    return StudyRow.state.in_(("queued", "running")) & is_free


def due(now: datetime) -> Select[int]:
    """Return the query of the ids of the studies that are due, in the order of starting.

    The order is by priority, then by the owner with the fewest held studies, then by age.
    """
    held = aliased(StudyRow)
    n_held = (
        select(func.count())
        .where(held.owner == StudyRow.owner, held.acquired_until > now)
        .scalar_subquery()
    )
    in_order = (StudyRow.priority.desc(), n_held, StudyRow.id)
    return select(StudyRow.id).where(is_due(now)).order_by(*in_order)


def places(session: Session, now: datetime) -> Mapping[int, QueuePlace]:
    """Return where each study that is due stands, by id."""
    n_running = session.scalar(select(func.count()).where(StudyRow.acquired_until >= now)) or 0
    n_dispatchers = len(dispatchers.live(session, now))
    return {
        study_id: QueuePlace(place=place, n_running=n_running, n_dispatchers=n_dispatchers)
        for place, study_id in enumerate(session.scalars(due(now)), start=1)
    }
