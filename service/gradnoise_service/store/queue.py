"""The queue of studies: which is due, in which order, and where a study stands."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session, aliased

from gradnoise_service.domain.devices import CHOICES, DeviceChoice
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.store import dispatchers
from gradnoise_service.store.tables import StudyRow


def is_due(now: datetime) -> ColumnElement[bool]:
    """Return the condition on a study to be due: queued, or running under an expired lease."""
    is_free = or_(StudyRow.acquired_until.is_(None), StudyRow.acquired_until < now)
    return StudyRow.state.in_(("queued", "running")) & is_free


def due(now: datetime, served: Collection[DeviceChoice] = CHOICES) -> Select[int]:
    """Return the query of the ids of the studies that are due, in the order of starting.

    The order is by priority, then by the owner with the fewest held studies, then by age.

    Args:
        now: The time.
        served: The choices of devices; studies of others are left out.
    """
    held = aliased(StudyRow)
    n_held = (
        select(func.count())
        .where(held.owner == StudyRow.owner, held.acquired_until > now)
        .scalar_subquery()
    )
    in_order = (StudyRow.priority.desc(), n_held, StudyRow.id)
    is_served = StudyRow.devices.in_(served)
    return select(StudyRow.id).where(is_due(now), is_served).order_by(*in_order)


def places(session: Session, now: datetime) -> Mapping[int, QueuePlace]:
    """Return where each study that is due stands, by id.

    A study whose devices no dispatcher has does not count for the places of the others.
    """
    n_running = session.scalar(select(func.count()).where(StudyRow.acquired_until >= now)) or 0
    live = dispatchers.live(session, now)
    faults = tuple(fault for info in live for fault in info.devices.faults)
    found: dict[int, QueuePlace] = {}
    place = 1
    for study_id, choice in session.execute(due(now).add_columns(StudyRow.devices)):
        is_lacking = bool(live) and not any(info.devices.serve(choice) for info in live)
        found[study_id] = QueuePlace(
            place=place,
            n_running=n_running,
            n_dispatchers=len(live),
            lacks=choice if is_lacking else None,
            faults=faults if is_lacking and choice != "cpu" else (),
        )
        place += not is_lacking
    return found
