"""Our tables; their prefix separates them from Optuna's in the same database."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    or_,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

PREFIX = "gradnoise_"
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


MAY_BE_DUE = "state IN ('queued', 'running', 'stopping')"
"""The condition of the index of the queue, which a query must contain as it is to use the index."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware timestamps in UTC, on databases that know time zones and on those that do not."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a stored time needs a time zone, but got {value!r}")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self, value: datetime | None, dialect: Dialect | None = None
    ) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - declared so by SQLAlchemy
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[dict[str, Any]]: JSON,
    }


class SourceRow(Base):
    __tablename__ = PREFIX + "source"
    __table_args__ = (UniqueConstraint("owner", "hash", "folder"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(80))
    hash: Mapped[str] = mapped_column(String(64))
    folder: Mapped[str] = mapped_column(String(1000))
    name: Mapped[str] = mapped_column(String(255))
    files: Mapped[dict[str, Any]]
    announced: Mapped[dict[str, Any]]
    stored_at: Mapped[datetime]


class StudyRow(Base):
    __tablename__ = PREFIX + "study"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        UniqueConstraint("owner", "name"),
        # covers the query of the queue
        Index(
            "ix_gradnoise_study_queue",
            *("priority", "owner", "devices", "state", "acquired_until", "acquired_from"),
            sqlite_where=text(MAY_BE_DUE),
            postgresql_where=text(MAY_BE_DUE),
        ),
        # leaves the queue out of the search for earlier studies of a workload
        Index(
            "ix_gradnoise_study_started",
            "workload",
            "id",
            sqlite_where=text("started_at IS NOT NULL"),
            postgresql_where=text("started_at IS NOT NULL"),
        ),
        Index(
            "ix_gradnoise_study_held",
            "acquired_until",
            sqlite_where=text("acquired_until IS NOT NULL"),
            postgresql_where=text("acquired_until IS NOT NULL"),
        ),
        Index(None, "owner", "priority", "started_at"),
        Index(None, "is_settled"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(80))
    name: Mapped[str] = mapped_column(String(80), index=True)
    suite: Mapped[str | None] = mapped_column(String(80), index=True)
    source_id: Mapped[int | None]  # of a SourceRow
    source_name: Mapped[str | None] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int]
    spec: Mapped[dict[str, Any]]
    metric: Mapped[dict[str, Any]]
    protocol: Mapped[dict[str, Any]]
    comparison: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    verdict: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)
    extensions: Mapped[list[dict[str, Any]]]
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_token: Mapped[str | None] = mapped_column(String(32))
    acquired_by: Mapped[str | None] = mapped_column(String(80))
    acquired_from: Mapped[datetime | None]
    acquired_until: Mapped[datetime | None]
    is_settled: Mapped[bool]
    stops: Mapped[list[dict[str, Any]]]
    n_crashes: Mapped[int]
    n_ended_at_crash: Mapped[int]
    devices: Mapped[str] = mapped_column(String(8))
    workload: Mapped[str] = mapped_column(Text, index=True)
    tags: Mapped[list[str]]
    note: Mapped[str] = mapped_column(Text)
    deleted_at: Mapped[datetime | None] = mapped_column(index=True)
    pruned_at: Mapped[datetime | None]


class TrialRow(Base):
    __tablename__ = PREFIX + "trial"
    __table_args__ = (
        UniqueConstraint("study_id", "phase", "arm", "number"),
        Index(None, "study_id", "state"),
        Index(
            "ix_gradnoise_trial_errors",
            "study_id",
            "arm",
            sqlite_where=text("error IS NOT NULL"),
            postgresql_where=text("error IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"))
    phase: Mapped[str] = mapped_column(String(16))
    arm: Mapped[str] = mapped_column(String(40))
    number: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    budget_epochs: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    params: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    optuna_number: Mapped[int | None]
    value: Mapped[float | None]
    diverged: Mapped[bool]
    epochs: Mapped[int]
    n_attempts: Mapped[int]
    n_excused: Mapped[int]
    device_seconds: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_token: Mapped[str | None] = mapped_column(String(32), index=True)


class AttemptRow(Base):
    __tablename__ = PREFIX + "attempt"
    __table_args__ = (UniqueConstraint("trial_id", "number"),)

    lease_token: Mapped[str] = mapped_column(String(32), primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id, ondelete="CASCADE"))
    number: Mapped[int]
    outcome: Mapped[str] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    device_seconds: Mapped[float]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class MeasurementRow(Base):
    __tablename__ = PREFIX + "measurement"

    trial_id: Mapped[int] = mapped_column(
        ForeignKey(TrialRow.id, ondelete="CASCADE"), primary_key=True
    )
    epoch: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[dict[str, Any]]
    seconds: Mapped[float]


class LogRow(Base):
    __tablename__ = PREFIX + "log"
    __table_args__ = (
        UniqueConstraint("lease_token", "position"),
        Index(None, "study_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"))
    lease_token: Mapped[str] = mapped_column(ForeignKey(AttemptRow.lease_token, ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[str] = mapped_column(Text)


class FileRow(Base):
    __tablename__ = PREFIX + "file"

    trial_id: Mapped[int] = mapped_column(
        ForeignKey(TrialRow.id, ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    saved_at: Mapped[datetime]


class CatalogueRow(Base):
    __tablename__ = PREFIX + "catalogue"

    id: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]]
    published_at: Mapped[datetime]


class DispatcherRow(Base):
    __tablename__ = PREFIX + "dispatcher"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    n_slots: Mapped[int]
    n_gpus: Mapped[int]
    n_cores: Mapped[int]
    faults: Mapped[list[str]]
    acquired_from: Mapped[datetime]
    acquired_until: Mapped[datetime]


class CalibrationRow(Base):
    __tablename__ = PREFIX + "calibration"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[dict[str, Any]]
    slots: Mapped[int]
    rates: Mapped[dict[str, Any]]
    refusal: Mapped[str] = mapped_column(Text)
    measured_at: Mapped[datetime]


class TokenRow(Base):
    __tablename__ = PREFIX + "token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    owner: Mapped[str] = mapped_column(String(80))
    scopes: Mapped[list[str]]
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class LoginRow(Base):
    __tablename__ = PREFIX + "login"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    token_digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class NoticeRow(Base):
    __tablename__ = PREFIX + "notice"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(36), unique=True)
    url: Mapped[str] = mapped_column(String(500))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    n_attempts: Mapped[int]
    error: Mapped[str | None] = mapped_column(Text)


class CounterRow(Base):
    __tablename__ = PREFIX + "counter"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


SOURCE, STUDY, TRIAL, ATTEMPT, LOG, MEASUREMENT, DISPATCHER, CALIBRATION, TOKEN, LOGIN = (
    Base.metadata.tables[row.__tablename__]
    for row in (
        *(SourceRow, StudyRow, TrialRow, AttemptRow, LogRow, MeasurementRow),
        *(DispatcherRow, CalibrationRow, TokenRow, LoginRow),
    )
)
"""Tables for queries of columns, which are executed faster than those of rows."""


def is_any(column: ColumnElement[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition on a column to have one of a few fixed values.

    SQLAlchemy writes the values of `in_` into the statement anew at each execution.
    """
    return or_(*(column == value for value in values))
