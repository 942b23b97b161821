"""The queue of studies: which is due, in which order, and where a study stands.

The order is by priority. Of equal priority, studies that have started before go on first; then
owners take turns: the next is the oldest study of the owner whose last start at this priority is
the longest ago.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    Subquery,
    and_,
    bindparam,
    case,
    func,
    select,
)
from sqlalchemy.orm import Session

from gradnoise_service.domain.devices import CHOICES, DeviceChoice
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.domain.study import STUDY_HELD
from gradnoise_service.store import dispatchers
from gradnoise_service.store.lease_times import Time, is_free, is_valid
from gradnoise_service.store.tables import STUDY

NOW = bindparam("now", type_=STUDY.c.acquired_until.type)


def is_due(now: Time) -> ColumnElement[bool]:
    """Return the condition on a study to be due: queued, or running under an expired lease."""
    return STUDY.c.state.in_(("queued", "running", "stopping")) & is_free(STUDY, now)


IS_QUEUED = STUDY.c.state == "queued"
N_RUNNING = select(func.count()).where(is_valid(STUDY, NOW), STUDY.c.state.in_(STUDY_HELD))


def due(now: datetime, served: Collection[DeviceChoice] = CHOICES) -> Select[int]:
    """Return the query of the ids of the studies that are due, the next to start first.

    Only the first one is next to start in the order of the module: its start ends its owner's turn.

    Args:
        now: The time.
        served: The choices of devices; studies of others are left out.
    """
    last = _last_starts(now)
    return (
        select(STUDY.c.id)
        .join(last, _is_of_owner(last))
        .where(is_due(now), STUDY.c.devices.in_(served))
        .order_by(STUDY.c.priority.desc(), IS_QUEUED, _start(last).asc().nulls_first(), STUDY.c.id)
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
    last = _last_starts(NOW)
    is_lacking = STUDY.c.devices.in_(bindparam("lacking", expanding=True))
    of_owner = (STUDY.c.owner, STUDY.c.priority, IS_QUEUED, is_lacking)
    turn = func.row_number().over(partition_by=of_owner, order_by=STUDY.c.id)
    first = func.min(STUDY.c.id).over(partition_by=of_owner)
    waiting = (
        select(
            STUDY.c.id,
            STUDY.c.devices,
            STUDY.c.priority,
            is_lacking.label("is_lacking"),
            IS_QUEUED.label("is_queued"),
            case((IS_QUEUED, turn), else_=0).label("turn"),
            _start(last).label("last_start"),
            case((IS_QUEUED, first), else_=STUDY.c.id).label("first_id"),
        )
        .join(last, _is_of_owner(last))
        .where(is_due(NOW))
        .subquery()
    )
    in_order = (
        waiting.c.priority.desc(),
        waiting.c.is_queued,
        waiting.c.turn,
        waiting.c.last_start.asc().nulls_first(),
        waiting.c.first_id,
        waiting.c.id,
    )
    n_before = func.sum(case((waiting.c.is_lacking, 0), else_=1)).over(
        order_by=in_order, rows=(None, -1)
    )
    columns = (waiting.c.id, waiting.c.devices, func.coalesce(n_before, 0).label("n_before"))
    numbered = select(*columns).subquery()
    is_asked = numbered.c.id.in_(bindparam("study_ids", expanding=True))
    return select(numbered).where(is_asked).order_by(numbered.c.n_before)


def _last_starts(now: Time) -> Subquery:
    """Return the subquery of the last start of each owner and priority with due studies."""
    pairs = select(STUDY.c.owner, STUDY.c.priority).where(is_due(now)).distinct().subquery()
    other = STUDY.alias()
    last_start = (
        select(func.max(other.c.started_at))
        .where(other.c.owner == pairs.c.owner, other.c.priority == pairs.c.priority)
        .scalar_subquery()
    )
    return select(pairs, last_start.label("started_at")).subquery()


def _is_of_owner(last: Subquery) -> ColumnElement[bool]:
    return and_(last.c.owner == STUDY.c.owner, last.c.priority == STUDY.c.priority)


def _start(last: Subquery) -> SQLColumnExpression[Any]:
    """Return the owner's last start where it counts: for a study that has not started."""
    return case((IS_QUEUED, last.c.started_at))
