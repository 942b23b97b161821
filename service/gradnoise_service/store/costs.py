"""The cost of training, as earlier studies measured it."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store.tables import StudyRow, TrialRow

N_STUDIES = 20


def seconds_per_epoch(session: Session, spec: StudySpec) -> float | None:
    """Return the device seconds of an epoch; None if nothing comparable was trained.

    It is the mean over the trials of the latest 20 studies that started on the workload, of those
    whose arms have the same options and optimizers, with the same steps between measurements.
    """
    latest = (
        select(StudyRow.id, StudyRow.spec)
        .where(StudyRow.spec["workload"].as_string() == spec.workload)
        .where(StudyRow.started_at.is_not(None))
        .order_by(StudyRow.id.desc())
        .limit(N_STUDIES)
    )
    subject = _subject(spec.model_dump(mode="json"))
    rows = session.execute(latest)
    comparable = [study_id for study_id, values in rows if _subject(values) == subject]
    seconds, n_epochs = session.execute(
        select(func.sum(TrialRow.device_seconds), func.sum(TrialRow.epochs)).where(
            TrialRow.study_id.in_(comparable), TrialRow.epochs > 0
        )
    ).one()
    return seconds / n_epochs if seconds and n_epochs else None


def _subject(values: Mapping[str, Any]) -> tuple[object, ...]:
    options, optimizer = values["options"], values["optimizer"]
    recipes = {
        json.dumps([{**options, **arm["options"]}, arm["optimizer"] or optimizer], sort_keys=True)
        for arm in values["arms"]
    }
    return recipes, values["budget"].get("report_every")
