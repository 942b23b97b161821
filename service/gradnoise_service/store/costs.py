"""The cost of training, as earlier studies measured it."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store.tables import StudyRow, TrialRow

N_STUDIES = 20
N_TRIALS = 500


def seconds_per_epoch(session: Session, spec: StudySpec) -> float | None:
    """Return the device seconds of an epoch; None if nothing comparable was trained.

    It is the mean over up to 500 trials of the latest 20 studies that started on the workload, of
    those whose arms have the same options and optimizers, with the same steps between measurements.
    """
    latest = (
        select(StudyRow.id, cast(StudyRow.spec, Text))
        .where(StudyRow.workload == spec.workload)
        .where(StudyRow.started_at.is_not(None))
        .order_by(StudyRow.id.desc())
        .limit(N_STUDIES)
    )
    subject = _subject(spec.model_dump(mode="json"))
    rows = session.execute(latest)
    comparable = [study_id for study_id, text in rows if _stored_subject(text) == subject]
    of_trials = (
        select(TrialRow.device_seconds, TrialRow.epochs)
        .where(TrialRow.study_id.in_(comparable), TrialRow.epochs > 0)
        .order_by(TrialRow.study_id.desc(), TrialRow.state.desc())
        .limit(N_TRIALS)
        .subquery()
    )
    sums = select(func.sum(of_trials.c.device_seconds), func.sum(of_trials.c.epochs))
    seconds, n_epochs = session.execute(sums).one()
    return seconds / n_epochs if seconds and n_epochs else None


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
