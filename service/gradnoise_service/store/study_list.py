"""The list of studies: single columns in an order, so that its cost is that of the lines shown."""

from typing import Any

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.remarks import StudyFilter
from gradnoise_service.domain.study_list import Effect, FilterChoices, Order, StudyLine
from gradnoise_service.store.study_filter import admits
from gradnoise_service.store.tables import StudyRow

FIRST = ("differences", 0)
"""The path of the first difference in a stored comparison."""
OF_EFFECT = ("arm", "metric", "gain", "low", "high", "level")


def lines(
    session: Session, *, owner: str | None, only: StudyFilter, order: Order, skip: int, limit: int
) -> list[StudyLine]:
    """Return up to `limit` lines of the studies that the filter admits, from the `skip`-th on.

    Args:
        session: A session.
        owner: Whose studies are visible; None for everyone's.
        only: The filter.
        order: Equal studies are ordered newest first.
        skip: How many lines are left out.
        limit: How many lines are returned, at most.
    """
    gain, interval = _number("gain"), ("gain_interval",)
    query = select(
        StudyRow.id,
        StudyRow.name,
        StudyRow.owner,
        StudyRow.state,
        StudyRow.workload,
        StudyRow.spec["arms"].label("arms"),
        StudyRow.tags,
        StudyRow.created_at,
        StudyRow.error,
        StudyRow.verdict,
        StudyRow.comparison[(*FIRST, "arm")].as_string().label("arm"),
        StudyRow.metric["name"].as_string().label("metric"),
        gain.label("gain"),
        _number(*interval, "low").label("low"),
        _number(*interval, "high").label("high"),
        _number(*interval, "level").label("level"),
    ).where(*_visible(owner), *admits(only))
    by: dict[Order, tuple[ColumnElement[Any], ...]] = {
        "newest": (),
        "oldest": (StudyRow.id.asc(),),
        "name": (StudyRow.name.asc(),),
        "ended": (StudyRow.finished_at.desc().nulls_last(),),
        "effect": ((gain / StudyRow.spec["smallest_difference"].as_float()).desc().nulls_last(),),
    }
    ordered = query.order_by(*by[order], StudyRow.id.desc()).offset(skip).limit(limit)
    return [_line(row) for row in session.execute(ordered)]


def choices(session: Session, owner: str | None) -> FilterChoices:
    """Return the values that the visible studies have."""
    workloads, owners = (
        tuple(session.scalars(select(column).where(*_visible(owner)).distinct().order_by(column)))
        for column in (StudyRow.workload, StudyRow.owner)
    )
    tagged = session.scalars(select(StudyRow.tags).where(*_visible(owner)))
    tags = sorted({tag for of_study in tagged for tag in of_study})
    return FilterChoices(workloads=workloads, owners=owners, tags=tuple(tags))


def _visible(owner: str | None) -> tuple[ColumnElement[bool], ...]:
    is_present = StudyRow.deleted_at.is_(None)
    return (is_present,) if owner is None else (is_present, StudyRow.owner == owner)


def _number(*path: str) -> ColumnElement[float]:
    found: ColumnElement[float] = StudyRow.comparison[(*FIRST, *path)].as_float()
    return found


def _line(row: Row[Any]) -> StudyLine:
    values: dict[str, Any] = dict(row._mapping)
    effect = Effect(**{name: values.pop(name) for name in OF_EFFECT})
    arms = tuple(arm["name"] for arm in values.pop("arms"))
    tags = tuple(values.pop("tags"))
    is_measured = effect.gain is not None
    return StudyLine(**values, arms=arms, tags=tags, effect=effect if is_measured else None)
