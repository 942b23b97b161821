"""Studies: submit, read, remark, extend."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, bindparam, func, select, update
from sqlalchemy.orm import Session

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import (
    FieldFault,
    IdempotencyMismatchError,
    InvalidSpecError,
    NotFoundError,
    StudyNotCompleteError,
)
from gradnoise_service.domain.lengthening import check_lengthening
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.progress import progress as progress_of
from gradnoise_service.domain.remarks import Remarks, StudyFilter
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import STUDY_ENDED, Metric, Study
from gradnoise_service.domain.suite import SuiteCount
from gradnoise_service.store import measurements, queue, trials
from gradnoise_service.store.database import insert_one
from gradnoise_service.store.lease_times import is_free
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.sources import StoredSource
from gradnoise_service.store.study_filter import admits
from gradnoise_service.store.study_names import name_taken
from gradnoise_service.store.study_values import BY_ID, QUERY, parsed, study_of
from gradnoise_service.store.tables import STUDY, StudyRow

EVERY = StudyFilter()


def submit(
    session: Transaction,
    spec: StudySpec,
    metric: Metric,
    *,
    owner: str,
    now: datetime,
    idempotency_key: str | None = None,
    source: StoredSource | None = None,
) -> Study:
    """Queue a study and return it; the same key with the same spec returns the first study.

    Raises:
        NameTakenError: If the owner has another study of this name.
        IdempotencyMismatchError: If the key was used with another spec.
    """
    values = spec.model_dump(mode="json")
    first = _replayed(session, owner, idempotency_key, values)
    if first is not None:
        return first
    row: dict[str, Any] = {
        "owner": owner,
        "name": spec.name,
        "suite": spec.suite,
        "source_id": None if source is None else source.id,
        "source_name": None if source is None else source.source.name,
        "state": "queued",
        "priority": spec.priority,
        "spec": values,
        "metric": dataclasses.asdict(metric),
        "protocol": {},
        "extensions": [],
        "idempotency_key": idempotency_key,
        "created_at": now,
        "devices": spec.devices,
        "is_settled": True,
        "stops": [],
        "n_crashes": 0,
        "n_ended_at_crash": 0,
        "workload": spec.workload,
        "tags": [],
        "note": "",
    }
    study_id = insert_one(session, STUDY, row)
    if study_id is None:
        first = _replayed(session, owner, idempotency_key, values)
        if first is not None:
            return first
        raise name_taken(session, owner, spec.name)
    return Study(
        id=study_id,
        owner=owner,
        spec=spec,
        metric=metric,
        state="queued",
        created_at=now,
        priority=spec.priority,
        source_name=None if source is None else source.source.name,
        devices=spec.devices,
        has_errors=False,
    )


def get(session: Session, study_id: int, owner: str | None) -> Study:
    """Return a study with its comparison; an `owner` of None may see every study.

    Raises:
        NotFoundError: If no study that the owner may see has the id.
    """
    described = describe(session, study_id, owner)
    comparison = session.scalar(select(STUDY.c.comparison).where(STUDY.c.id == study_id))
    return dataclasses.replace(described, comparison=comparison)


def describe(session: Transaction, study_id: int, owner: str | None) -> Study:
    """Return a study without its comparison; raises as `get`."""
    row = BY_ID.first(session, study_id=study_id)
    study = None if row is None else parsed(row)
    if study is None or owner not in (None, study.owner):
        raise _not_found(study_id)
    return study


def stored(session: Session, study_id: int, owner: str | None, *, locked: bool = False) -> StudyRow:
    """Return the row of a study, to be changed; raises as `get`.

    Args:
        session: The transaction.
        study_id: The study.
        owner: Who may see the study; None for everyone.
        locked: Whether other writers wait until the end of the transaction.
    """
    query = select(StudyRow).where(StudyRow.id == study_id, StudyRow.deleted_at.is_(None))
    if owner is not None:
        query = query.where(StudyRow.owner == owner)
    row = session.scalar(query.with_for_update() if locked else query)
    if row is None:
        raise _not_found(study_id)
    return row


def _not_found(study_id: int) -> NotFoundError:
    return NotFoundError(f"There is no study {study_id}.")


def page(
    session: Transaction,
    *,
    owner: str | None,
    before: int | None,
    limit: int,
    only: StudyFilter = EVERY,
) -> list[Study]:
    """Return up to `limit` studies with an id below `before`, newest first.

    They come without their comparisons.
    """
    values = {"visible_owner": owner, "before": before}
    given = {name: value for name, value in values.items() if value is not None}
    query = _page_query(only, tuple(given))
    return [parsed(row) for row in query.rows(session, n_most=limit, **given)]


@functools.lru_cache(100)
def _page_query(only: StudyFilter, given: tuple[str, ...]) -> Prepared:
    """Return the query of `page`; its construction takes as long as the rows of ten studies."""
    query = QUERY.where(*admits(only)).order_by(STUDY.c.id.desc())
    if "visible_owner" in given:
        query = query.where(STUDY.c.owner == bindparam("visible_owner"))
    if "before" in given:
        query = query.where(STUDY.c.id < bindparam("before"))
    return Prepared(query.limit(bindparam("n_most", type_=Integer)))


def of_suite(session: Session, suite: str, owner: str | None) -> list[Study]:
    """Return the studies of a suite that the owner may see, in the order of submission."""
    query = select(StudyRow).where(StudyRow.suite == suite).order_by(StudyRow.id)
    if owner is not None:
        query = query.where(StudyRow.owner == owner)
    return [study_of(row) for row in session.scalars(query)]


def first_of_suite(session: Transaction, suite: str, owner: str) -> Study | None:
    """Return the first study of an owner's suite; None if the owner has no such suite."""
    is_member = (STUDY.c.suite == suite) & (STUDY.c.owner == owner)
    first = select(STUDY).where(is_member).order_by(STUDY.c.id).limit(1)
    row = Prepared(first).first(session)
    return None if row is None else study_of(row)


def suites(session: Session, owner: str | None) -> list[SuiteCount]:
    """Return the suites that the owner may see, by name, with their counts of studies."""
    query = (
        select(
            StudyRow.suite,
            StudyRow.owner,
            func.count(),
            func.count().filter(StudyRow.state.in_(STUDY_ENDED)),
        )
        .group_by(StudyRow.suite, StudyRow.owner)
        .order_by(StudyRow.suite, StudyRow.owner)
    )
    if owner is not None:
        query = query.where(StudyRow.owner == owner)
    return [
        SuiteCount(suite, found_owner, n_studies, n_ended)
        for suite, found_owner, n_studies, n_ended in session.execute(query)
        if suite is not None
    ]


def remark(session: Session, study_id: int, owner: str | None, remarks: Remarks) -> Study:
    """Replace the tags, the note, or both; raises as `get`."""
    row = stored(session, study_id, owner)
    if remarks.tags is not None:
        row.tags = sorted(set(remarks.tags))
    if remarks.note is not None:
        row.note = remarks.note
    session.flush()
    return study_of(row)


def extend(
    session: Session,
    study_id: int,
    owner: str | None,
    n_seeds: int,
    *,
    max_trials: int,
    now: datetime,
    n_epochs: int = 0,
    idempotency_key: str | None = None,
    accepts_changed_code: bool = False,
) -> Study:
    """Queue a complete study again with more confirm seeds, or more epochs of each confirm run.

    The verdict so far is kept with the extension; the study gets a new one. The same key with the
    same numbers returns the study of the first call, in its present state.

    Raises:
        NotFoundError: As `get`.
        StudyNotCompleteError: If it has not ended, or ended without a verdict.
        InvalidSpecError: If it would have more than `max_trials` trials, or its runs cannot be
            trained on.
        IdempotencyMismatchError: If the key was used with another number.
    """
    row = stored(session, study_id, owner)
    study = study_of(row)
    if _is_replayed(row, n_seeds, n_epochs, idempotency_key):
        return study
    if study.state != "complete":
        raise StudyNotCompleteError(
            f"The state of study {study.spec.name!r} is {study.state}; only a complete study can "
            "be extended."
        )
    judged = study.design.at_look(trials.n_confirm_runs(session, study_id))
    _check_size(judged, n_seeds, max_trials)
    runs = trials.extensible(session, study_id) if n_epochs else {}
    if n_epochs:
        check_lengthening(judged, n_epochs, list(runs.values()))
    extension = {
        "n_seeds": n_seeds,
        "n_epochs": n_epochs,
        "at_n": judged.n_seeds,
        "verdict": study.verdict,
        "extended_at": now.isoformat(),
        "key": idempotency_key,
        "accepts_changed_code": accepts_changed_code,
    }
    statement = (
        update(StudyRow)
        .where(StudyRow.id == study_id, StudyRow.state == "complete")
        .values(
            state="queued",
            started_at=None,
            finished_at=None,
            verdict=None,
            comparison=None,
            extensions=[*row.extensions, extension],
        )
        .returning(StudyRow.id)
        .execution_options(synchronize_session=False)
    )
    extended = session.execute(statement).first()
    session.expire_all()
    if extended is not None and runs:
        length = judged.epochs("confirm") + n_epochs
        trials.reopen(session, study_id, runs.keys(), length)
    if extended is None and not _is_replayed(
        session.get_one(StudyRow, study_id), n_seeds, n_epochs, idempotency_key
    ):
        raise StudyNotCompleteError(
            f"Study {study.spec.name!r} was extended by another request at this moment."
        )
    return get(session, study_id, owner)


def unsettled(session: Session, now: datetime) -> Sequence[Study]:
    """Return the ended studies that are not settled and whose last holder's lease has expired.

    Until then the holder settles them. Those that were deleted are left out.
    """
    query = select(StudyRow).where(
        StudyRow.is_settled.is_(False),
        StudyRow.state.in_(STUDY_ENDED),
        StudyRow.deleted_at.is_(None),
        is_free(STUDY, now),
    )
    return [study_of(row) for row in session.scalars(query)]


def settle(session: Session, study_id: int) -> None:
    """Mark an ended study as settled."""
    has_ended = (StudyRow.id == study_id, StudyRow.state.in_(STUDY_ENDED))
    session.execute(
        update(StudyRow).where(*has_ended).values(is_settled=True, acquired_by=None),
        execution_options={"synchronize_session": False},
    )


def ended(session: Session, study_ids: Sequence[int], before: datetime) -> Sequence[int]:
    """Return those of the studies that ended before a time."""
    is_over = StudyRow.state.in_(STUDY_ENDED) & (StudyRow.finished_at < before)
    return (
        session.scalars(select(StudyRow.id).where(StudyRow.id.in_(study_ids), is_over)).all()
        if study_ids
        else []
    )


def progress(
    session: Transaction, study_id: int, now: datetime, owner: str | None = None
) -> Progress:
    """Return a study's progress; raises as `get`."""
    study = describe(session, study_id, owner)
    found = progress_of(study, trials.counts(session, study), now)
    is_queued = study.state == "queued"
    place = queue.places(session, now, [study_id]).get(study_id) if is_queued else None
    errors = trials.first_errors(session, [study_id] if study.has_errors else [])
    noise = measurements.noise_ratios(session, study_id, len(study.spec.arms))
    return dataclasses.replace(found, queue=place, errors=errors.get(study_id, ()), noise=noise)


def _replayed(
    session: Transaction, owner: str, key: str | None, values: Mapping[str, Any]
) -> Study | None:
    if key is None:
        return None
    is_same = (STUDY.c.owner == owner) & (STUDY.c.idempotency_key == key)
    row = Prepared(select(STUDY).where(is_same)).first(session)
    if row is None:
        return None
    if row.spec != values:
        raise IdempotencyMismatchError()
    return study_of(row)


def _is_replayed(row: StudyRow, n_seeds: int, n_epochs: int, key: str | None) -> bool:
    """Return whether the study was extended under this key.

    Raises:
        IdempotencyMismatchError: If it was, by another number of seeds or epochs.
    """
    before = [
        (extension["n_seeds"], extension.get("n_epochs", 0))
        for extension in row.extensions
        if key is not None and extension["key"] == key
    ]
    if before and before[0] != (n_seeds, n_epochs):
        raise IdempotencyMismatchError()
    return bool(before)


def _check_size(judged: Design, n_seeds: int, max_trials: int) -> None:
    n_trials = judged.at(judged.n_seeds + n_seeds).n_trials_total
    if n_trials <= max_trials:
        return
    a_seed = len(judged.spec.arms) * judged.n_settings
    most = max(0, (max_trials - judged.n_trials_total) // a_seed)
    fault = FieldFault(
        field="seeds",
        value=n_seeds,
        message=f"the study would have {n_trials} trials in all, more than this service allows",
        legal=f"at most {most} more seeds",
    )
    raise InvalidSpecError([fault])
