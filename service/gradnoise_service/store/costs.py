"""The cost of training, as earlier studies measured it."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Integer, Text, bindparam, cast, func, select

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import STUDY, TRIAL

N_STUDIES = 20
N_TRIALS = 500


def seconds_per_epoch(session: Transaction, spec: StudySpec) -> float | None:
    """Return the device seconds of an epoch; None if nothing comparable was trained.

    It is the mean over up to 500 trials of the latest 20 studies that started on the workload, of
    those whose arms have the same options and optimizers, with the same steps between measurements.
    """
    subject = _subject(spec.model_dump(mode="json"))
    rows = _latest_query().rows(session, workload=spec.workload)
    comparable = [study_id for study_id, text in rows if _stored_subject(text) == subject]
    ids = {f"study_id_{i}": study_id for i, study_id in enumerate(comparable)}
    if not ids:
        return None
    seconds, n_epochs = _sums_query(tuple(ids)).first(session, **ids)
    return seconds / n_epochs if seconds and n_epochs else None


@functools.cache
def _latest_query() -> Prepared:
    query = (
        select(STUDY.c.id, cast(STUDY.c.spec, Text))
        .where(STUDY.c.workload == bindparam("workload"), STUDY.c.started_at.is_not(None))
        .order_by(STUDY.c.id.desc())
        .limit(N_STUDIES)
    )
    return Prepared(query)


@functools.cache
def _sums_query(names: Sequence[str]) -> Prepared:
    of_trials = (
        select(TRIAL.c.device_seconds, TRIAL.c.epochs)
        .where(
            TRIAL.c.study_id.in_([bindparam(name, type_=Integer) for name in names]),
            TRIAL.c.epochs > 0,
        )
        .order_by(TRIAL.c.study_id.desc(), TRIAL.c.state.desc())
        .limit(N_TRIALS)
        .subquery()
    )
    columns = of_trials.c.device_seconds, of_trials.c.epochs
    return Prepared(select(*map(func.sum, columns)))


@functools.lru_cache(200)
def _stored_subject(text: str) -> tuple[object, ...]:
    return _subject(json.loads(text))


def _subject(values: Mapping[str, Any]) -> tuple[object, ...]:
    options, optimizer = values["options"], values["optimizer"]
    recipes = {
        json.dumps([{**options, **arm["options"]}, arm["optimizer"] or optimizer], sort_keys=True)
        for arm in values["arms"]
    }
    return recipes, values["budget"].get("report_every")
