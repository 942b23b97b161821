"""The queue of studies: which is due, in which order, and where a study stands."""

import functools
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    SQLColumnExpression,
    Subquery,
    bindparam,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session

from gradnoise_service.domain.devices import CHOICES, DeviceChoice
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.store import dispatchers
from gradnoise_service.store.tables import STUDY

Time: TypeAlias = datetime | BindParameter[Any]
NOW = bindparam("now", type_=STUDY.c.acquired_until.type)


def is_due(now: Time) -> ColumnElement[bool]:
    """Return the condition on a study to be due: queued, or running under an expired lease."""
    is_free = or_(STUDY.c.acquired_until.is_(None), STUDY.c.acquired_until < now)
    return STUDY.c.state.in_(("queued", "running")) & is_free


N_RUNNING = select(func.count()).where(STUDY.c.acquired_until >= NOW)


def due(now: datetime, served: Collection[DeviceChoice] = CHOICES) -> Select[int]:
    """Return the query of the ids of the studies that are due, in the order of starting.

    The order is by priority, then by the owner with the fewest held studies, then by age.

    Args:
        now: The time.
        served: The choices of devices; studies of others are left out.
    """
    held = _held(now)
    return (
        select(STUDY.c.id)
        .outerjoin(held, held.c.owner == STUDY.c.owner)
        .where(is_due(now), STUDY.c.devices.in_(served))
        .order_by(*_in_order(held))
    )


def places(session: Session, now: datetime, study_ids: Sequence[int]) -> Mapping[int, QueuePlace]:
    """Return where those of the studies that are due stand, by id.

    A study whose devices no dispatcher has does not count for the places of the others.
    """
    n_running = session.scalar(N_RUNNING, {"now": now}) or 0
    live = dispatchers.live(session, now)
    faults = tuple(fault for info in live for fault in info.devices.faults)
    lacking = [
        choice
        for choice in CHOICES
        if live and not any(info.devices.serve(choice) for info in live)
    ]
    values = {"now": now, "lacking": lacking, "study_ids": study_ids}
    return {
        study_id: QueuePlace(
            place=n + 1,
            n_running=n_running,
            n_dispatchers=len(live),
            lacks=choice if choice in lacking else None,
            faults=faults if choice in lacking and choice != "cpu" else (),
        )
        for study_id, choice, n in session.execute(_places_query(), values)
    }


@functools.cache
def _places_query() -> Select[int, str, int]:
    """Return the query of the due among `study_ids`, with the number of others before each."""
    held = _held(NOW)
    is_lacking = STUDY.c.devices.in_(bindparam("lacking", expanding=True))
    n_before = func.sum(case((is_lacking, 0), else_=1)).over(
        order_by=_in_order(held), rows=(None, -1)
    )
    numbered = (
        select(STUDY.c.id, STUDY.c.devices, func.coalesce(n_before, 0).label("n_before"))
        .outerjoin(held, held.c.owner == STUDY.c.owner)
        .where(is_due(NOW))
        .subquery()
    )
    is_asked = numbered.c.id.in_(bindparam("study_ids", expanding=True))
    return select(numbered).where(is_asked).order_by(numbered.c.n_before)


def _held(now: Time) -> Subquery:
    """Return the subquery of the number of studies that each owner holds, if any."""
    return (
        select(STUDY.c.owner, func.count().label("n"))
        .where(STUDY.c.acquired_until > now)
        .group_by(STUDY.c.owner)
        .subquery()
    )


def _in_order(held: Subquery) -> tuple[SQLColumnExpression[Any], ...]:
    return STUDY.c.priority.desc(), func.coalesce(held.c.n, 0), STUDY.c.id
