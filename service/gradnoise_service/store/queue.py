"""The queue of studies: which is due, in which order, and where a study stands.

The order is by priority. Of equal priority, studies that have started before go on first; then
owners take turns: the next is the oldest study of the owner whose last start at this priority is
the longest ago.
"""

import bisect
import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    Subquery,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
)

from gradnoise_service.domain.devices import CHOICES, DeviceChoice
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.domain.study import STUDY_HELD
from gradnoise_service.store import dispatchers
from gradnoise_service.store.lease_times import Time, is_free, is_valid
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import MAY_BE_DUE, STUDY, is_any

NOW = bindparam("now", type_=STUDY.c.acquired_until.type)


def is_due(now: Time) -> ColumnElement[bool]:
    """Return the condition on a study to be due: queued, or running under an expired lease."""
    return and_(text(f"{STUDY.name}.{MAY_BE_DUE}"), is_free(STUDY, now))


IS_QUEUED = STUDY.c.state == "queued"


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


def places(
    session: Transaction, now: datetime, study_ids: Collection[int]
) -> Mapping[int, QueuePlace]:
    """Return where those of the studies that are due stand, by id, the next to start first.

    A study whose devices no dispatcher has does not count for the places of the others.
    """
    live = dispatchers.live(session, now)
    faults = tuple(fault for info in live for fault in info.devices.faults)
    lacking = {
        choice
        for choice in CHOICES
        if live and not any(info.devices.serve(choice) for info in live)
    }
    rows = _groups_query().rows(session, now=now)
    groups = _groups(rows, lacking)
    found = {
        study_id: QueuePlace(
            place=1 + sum(group.n_before(own, study_id) for group in groups),
            n_running=rows[0].n_running,
            n_dispatchers=len(live),
            lacks=own.lacks,
            faults=faults if own.lacks not in (None, "cpu") else (),
        )
        for own in groups
        for study_id in set(study_ids).intersection(own.ids)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].place))


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Due studies of an owner that take turns with those of others, or one that has started.

    Args:
        rank: The negated priority, and whether they are queued.
        last_start: The owner's last start at this priority; None for a study that has started.
        lacks: Their devices, if no dispatcher has such; they count for no other's place.
        ids: Ascending.
    """

    rank: tuple[int, bool]
    last_start: datetime | None
    lacks: DeviceChoice | None
    ids: Sequence[int]

    def n_before(self, own: "_Group", study_id: int) -> int:
        """Return how many of this group start before a study of another group, or of this one."""
        if self.lacks is not None:
            return 0
        if self.rank != own.rank:
            return len(self.ids) if self.rank < own.rank else 0
        n_turns = bisect.bisect_left(own.ids, study_id)
        goes_first = len(self.ids) > n_turns and self._order < own._order
        return min(len(self.ids), n_turns) + goes_first

    @property
    def _order(self) -> tuple[bool, datetime | None, int]:
        return self.last_start is not None, self.last_start, self.ids[0]


def _groups(rows: Iterable[Any], lacking: Collection[DeviceChoice]) -> list[_Group]:
    ids: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in rows:
        lacks = row.devices if row.devices in lacking else None
        is_queued = row.state == "queued"
        key = row.owner, (-row.priority, is_queued), row.last_start, lacks
        of_row = list(map(int, row.ids.split(",")))
        if is_queued:
            ids[*key, None] += of_row
        else:
            ids |= {(*key, study_id): [study_id] for study_id in of_row}
    return [
        _Group(rank=rank, last_start=last_start, lacks=lacks, ids=sorted(of_group))
        for (_, rank, last_start, lacks, _), of_group in ids.items()
    ]


@functools.cache
def _groups_query() -> Prepared:
    """Return the query of the due studies by priority, owner, devices and state.

    The index of the queue has them in this order.
    """
    key = (STUDY.c.priority, STUDY.c.owner, STUDY.c.devices, STUDY.c.state)
    # SQLAlchemy renders a separator that is a str at execution, and a prepared statement never
    separator: Any = literal_column("','")
    ids = func.aggregate_strings(cast(STUDY.c.id, Text), separator)
    group = select(*key, ids.label("ids")).where(is_due(NOW)).group_by(*key).subquery()
    last = _last_start(group.c.owner, group.c.priority)
    last_start = case((group.c.state == "queued", last))
    n_running = select(func.count()).where(is_valid(STUDY, NOW), is_any(STUDY.c.state, STUDY_HELD))
    counted = n_running.scalar_subquery().label("n_running")
    return Prepared(select(group, last_start.label("last_start"), counted))


def _last_starts(now: Time) -> Subquery:
    """Return the subquery of the last start of each owner and priority with due studies."""
    pairs = select(STUDY.c.owner, STUDY.c.priority).where(is_due(now)).distinct().subquery()
    last_start = _last_start(pairs.c.owner, pairs.c.priority)
    return select(pairs, last_start.label("started_at")).subquery()


def _last_start(
    owner: ColumnElement[str], priority: ColumnElement[int]
) -> ScalarSelect[datetime | None]:
    other = STUDY.alias()
    of_owner = (other.c.owner == owner, other.c.priority == priority)
    return select(func.max(other.c.started_at)).where(*of_owner).scalar_subquery()


def _is_of_owner(last: Subquery) -> ColumnElement[bool]:
    return and_(last.c.owner == STUDY.c.owner, last.c.priority == STUDY.c.priority)


def _start(last: Subquery) -> SQLColumnExpression[Any]:
    """Return the owner's last start where it counts: for a study that has not started."""
    return case((IS_QUEUED, last.c.started_at))
