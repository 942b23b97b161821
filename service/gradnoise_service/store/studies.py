"""Studies: submit, read, cancel, and how far one is."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, case, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import (
    FieldFault,
    IdempotencyMismatchError,
    InvalidSpecError,
    NameTakenError,
    NotFoundError,
    StudyFinishedError,
    StudyNotCompleteError,
)
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.study import (
    STUDY_ENDED,
    TRIAL_ENDED,
    ArmProgress,
    Extension,
    Metric,
    Progress,
    Study,
    StudyState,
)
from gradnoise_service.store.tables import StudyRow, TrialRow


def submit(
    session: Session,
    spec: StudySpec,
    metric: Metric,
    *,
    owner: str,
    now: datetime,
    idempotency_key: str | None = None,
) -> Study:
    """Store a study as queued and return it; the same key with the same spec returns the study of
    the first call.

    Raises:
        NameTakenError: If another study has the name.
        IdempotencyMismatchError: If the key came before with another spec.
    """
    values = spec.model_dump(mode="json")
    first = _replayed(session, owner, idempotency_key, values)
    if first is not None:
        return first
    row = StudyRow(
        owner=owner,
        name=spec.name,
        state="queued",
        priority=spec.priority,
        spec=values,
        metric=dataclasses.asdict(metric),
        protocol={},
        extensions=[],
        idempotency_key=idempotency_key,
        created_at=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        first = _replayed(session, owner, idempotency_key, values)
        if first is not None:
            return first
        raise NameTakenError(spec.name, _free_name(session, spec.name)) from None
    return _study(row)


def get(session: Session, study_id: int, owner: str | None) -> Study:
    """Return a study; `owner` None sees every owner's.

    Raises:
        NotFoundError: If there is none of this id that the owner may see.
    """
    return _one(
        session,
        select(StudyRow).where(StudyRow.id == study_id),
        owner,
        f"There is no study {study_id}.",
    )


def find(session: Session, name: str, owner: str | None) -> Study:
    """Return the study of this name, as `get` does."""
    return _one(
        session,
        select(StudyRow).where(StudyRow.name == name),
        owner,
        f"There is no study named {name!r}.",
    )


def page(
    session: Session,
    *,
    owner: str | None,
    before: int | None,
    limit: int,
    state: StudyState | None = None,
) -> list[Study]:
    """Return up to `limit` studies, newest first, those with an id below `before`."""
    query = select(StudyRow).order_by(StudyRow.id.desc()).limit(limit)
    if owner is not None:
        query = query.where(StudyRow.owner == owner)
    if before is not None:
        query = query.where(StudyRow.id < before)
    if state is not None:
        query = query.where(StudyRow.state == state)
    return [_study(row) for row in session.scalars(query)]


def cancel(session: Session, study_id: int, owner: str | None, now: datetime) -> Study:
    """End a study now; whoever runs it loses its lease and lets go.

    Raises:
        NotFoundError: As `get`.
        StudyFinishedError: If it has already ended.
    """
    study = get(session, study_id, owner)
    statement = update(StudyRow).where(StudyRow.id == study_id, StudyRow.state.not_in(STUDY_ENDED))
    ended = statement.values(
        state="cancelled", finished_at=now, lease_token=None, acquired_by=None, acquired_until=None
    )
    if session.execute(ended.returning(StudyRow.id)).first() is None:
        raise StudyFinishedError(
            f"Study {study.spec.name!r} has already ended: it is {study.state}."
        )
    session.expire_all()
    return get(session, study_id, owner)


def extend(
    session: Session,
    study_id: int,
    owner: str | None,
    n_seeds: int,
    *,
    max_trials: int,
    now: datetime,
    idempotency_key: str | None = None,
) -> Study:
    """Queue a complete study again for so many more confirm seeds; its verdict so far is kept with
    the extension, and given anew.

    The same key with the same number returns the study as the first call has left it, or as it is
    by now.

    Raises:
        NotFoundError: As `get`.
        StudyNotCompleteError: If it has not ended, or ended without a verdict.
        InvalidSpecError: If it would have more than `max_trials` trials.
        IdempotencyMismatchError: If the key came before with another number.
    """
    get(session, study_id, owner)
    row = session.get_one(StudyRow, study_id)
    study = _study(row)  # of the very row that is asked: another request may have extended it since
    if _is_replayed(row, n_seeds, idempotency_key):
        return study
    if study.state != "complete":
        raise StudyNotCompleteError(
            f"Study {study.spec.name!r} is {study.state}: only a complete one can be extended."
        )
    n_judged = study.n_judged
    n_trials = study.spec.at_seeds(n_judged + n_seeds).n_trials_total
    if n_trials > max_trials:
        most = (max_trials - study.spec.at_seeds(n_judged).n_trials_total) // (
            len(study.spec.arms) * study.spec.n_points
        )
        message = f"the study would have {n_trials} trials in all, more than this service allows"
        raise InvalidSpecError(
            [
                FieldFault(
                    field="seeds",
                    value=n_seeds,
                    message=message,
                    legal=f"at most {max(0, most)} more seeds",
                )
            ]
        )
    extension = {
        "n_seeds": n_seeds,
        "at_n": n_judged,
        "verdict": study.verdict,
        "extended_at": now.isoformat(),
        "key": idempotency_key,
    }
    anew = {
        "state": "queued",
        "started_at": None,
        "finished_at": None,
        "verdict": None,
        "comparison": None,
    }
    statement = update(StudyRow).where(StudyRow.id == study_id, StudyRow.state == "complete")
    statement = statement.values(**anew, extensions=[*row.extensions, extension])
    extended = session.execute(
        statement.returning(StudyRow.id).execution_options(synchronize_session=False)
    ).first()
    session.expire_all()
    if extended is None and not _is_replayed(
        session.get_one(StudyRow, study_id), n_seeds, idempotency_key
    ):
        raise StudyNotCompleteError(
            f"Study {study.spec.name!r} was extended by another request at this moment."
        )
    return get(session, study_id, owner)


def unsettled(session: Session) -> Sequence[Study]:
    """Return the studies that were ended while trials of theirs were still open."""
    is_open = select(TrialRow.id).where(
        TrialRow.study_id == StudyRow.id, TrialRow.state.not_in(TRIAL_ENDED)
    )
    return [
        _study(row)
        for row in session.scalars(
            select(StudyRow).where(StudyRow.state.in_(STUDY_ENDED), is_open.exists())
        )
    ]


def ended(session: Session, study_ids: Sequence[int], before: datetime) -> Sequence[int]:
    """Return those of the studies that ended before a moment."""
    is_over = StudyRow.state.in_(STUDY_ENDED) & (StudyRow.finished_at < before)
    return (
        session.scalars(select(StudyRow.id).where(StudyRow.id.in_(study_ids), is_over)).all()
        if study_ids
        else []
    )


def progress(session: Session, study_id: int, now: datetime) -> Progress:
    """Return how far a study is; an arm's phase stands in it from the start, with zeros.

    Raises:
        NotFoundError: If there is no such study.
    """
    study = get(session, study_id, None)
    counts: dict[tuple[str, str], Mapping[str, Any]] = {
        (row["phase"], row["arm"]): dict(row) for row in _counts(session, study)
    }
    spec = study.spec
    epochs_of: dict[Phase, int] = {
        **({"search": spec.epochs} if spec.search else {}),
        **({"rerun": spec.epochs} if spec.rerun.is_on else {}),
        "confirm": spec.confirm_epochs,
    }
    arms, epochs_left, epochs_done = [], 0, 0
    for phase, n_epochs in epochs_of.items():
        for arm in spec.arms:
            row = counts.get((phase, arm.name), {})
            n_planned = {
                "search": spec.n_searched(arm.name),
                "rerun": spec.n_rerun(arm.name),
                "confirm": spec.n_pairs,
            }[phase]
            # an arm that has fewer settings than are asked for has fewer reruns; a look may have
            # ended the study before its last seed
            n_trials = (
                (row.get("n_trials") or n_planned)
                if phase == "rerun" or study.state == "complete"
                else n_planned
            )
            progress = ArmProgress(
                arm=arm.name,
                phase=phase,
                n_trials=n_trials,
                **{
                    name: row.get(name) or 0
                    for name in ("n_ended", "n_running", "n_pruned", "n_failed", "n_diverged")
                },
                best_value=row.get("best_value"),
            )
            arms.append(progress)
            under_way = row.get("epochs_under_way") or 0
            epochs_done += (row.get("n_ended_now") or 0) * n_epochs + under_way
            epochs_left += (n_trials - progress.n_ended) * n_epochs - under_way
    return Progress(
        study_id=study.id,
        name=spec.name,
        state=study.state,
        arms=tuple(arms),
        seconds_left=_seconds_left(study, epochs_done, epochs_left, now),
        verdict=study.verdict,
        error=study.error,
    )


def _counts(session: Session, study: Study) -> Sequence[RowMapping]:
    def count(where: Any) -> Any:
        return func.sum(case((where, 1), else_=0))

    best = func.max if study.metric.direction == "maximize" else func.min
    query = (
        select(
            TrialRow.phase,
            TrialRow.arm,
            func.count().label("n_trials"),
            count(TrialRow.state.in_(TRIAL_ENDED)).label("n_ended"),
            count(TrialRow.finished_at >= (study.started_at or study.created_at)).label(
                "n_ended_now"
            ),
            count(TrialRow.state == "running").label("n_running"),
            count(TrialRow.state == "pruned").label("n_pruned"),
            count(TrialRow.state == "failed").label("n_failed"),
            count(TrialRow.diverged).label("n_diverged"),
            best(case((TrialRow.state == "complete", TrialRow.value))).label("best_value"),
            func.sum(case((TrialRow.state == "running", TrialRow.epochs), else_=0)).label(
                "epochs_under_way"
            ),
        )
        .where(TrialRow.study_id == study.id)
        .group_by(TrialRow.phase, TrialRow.arm)
    )
    return session.execute(query).mappings().all()


def _seconds_left(study: Study, epochs_done: int, epochs_left: int, now: datetime) -> float | None:
    if study.state != "running" or study.started_at is None or epochs_done == 0:
        return None
    return (now - study.started_at).total_seconds() / epochs_done * epochs_left


def _replayed(
    session: Session, owner: str, key: str | None, values: Mapping[str, Any]
) -> Study | None:
    if key is None:
        return None
    row = session.scalar(
        select(StudyRow).where(StudyRow.owner == owner, StudyRow.idempotency_key == key)
    )
    if row is None:
        return None
    # a spec stored before a field was lacks it
    if StudySpec.model_validate(row.spec).model_dump(mode="json") != values:
        raise IdempotencyMismatchError()
    return _study(row)


def _is_replayed(row: StudyRow, n_seeds: int, key: str | None) -> bool:
    """Return whether the study was extended under this key before.

    Raises:
        IdempotencyMismatchError: If so, but by another number of seeds.
    """
    before = [
        extension["n_seeds"]
        for extension in row.extensions
        if key is not None and extension["key"] == key
    ]
    if before and before[0] != n_seeds:
        raise IdempotencyMismatchError()
    return bool(before)


def _free_name(session: Session, name: str) -> str:
    stem = name[:70]
    taken = set(
        session.scalars(
            select(StudyRow.name).where(StudyRow.name.startswith(stem + "-", autoescape=True))
        )
    )
    return next(f"{stem}-{i}" for i in range(2, len(taken) + 3) if f"{stem}-{i}" not in taken)


def _one(session: Session, query: Select[StudyRow], owner: str | None, message: str) -> Study:
    row = session.scalar(query if owner is None else query.where(StudyRow.owner == owner))
    if row is None:
        raise NotFoundError(message)
    return _study(row)


def _study(row: StudyRow) -> Study:
    spec = StudySpec.model_validate(row.spec)
    extensions = tuple(
        Extension(
            n_seeds=one["n_seeds"],
            at_n=one["at_n"],
            verdict=one["verdict"],
            extended_at=datetime.fromisoformat(one["extended_at"]),
        )
        for one in row.extensions
    )
    for one in extensions:
        spec = spec.at_seeds(one.at_n).at_seeds(one.at_n + one.n_seeds)
    return Study(
        id=row.id,
        owner=row.owner,
        spec=spec,
        metric=Metric(**row.metric),
        state=row.state,  # type: ignore[arg-type]  # only our own states are ever written
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        verdict=row.verdict,
        protocol=row.protocol,
        comparison=row.comparison,
        extensions=extensions,
    )
