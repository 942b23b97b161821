"""Optuna's rows of trials: written for many trials at once.

Optuna's own interface takes 39 statements and 9 commits a trial, which are most of a dispatcher's
work. These functions write the same rows through Optuna's models.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from gradnoise_service.search.proposals import LOST


def write(
    storage: RDBStorage,
    study_id: int,
    trials: Sequence[FrozenTrial],
    ids: Sequence[int],
    ended: Sequence[int],
) -> list[int]:
    """Add trials that are not stored and end others, in one transaction; return all ids.

    A trial is left as it is stored if a former holder of the study's lease has added one of its
    number, or has ended it. A trial that diverged is stored as failed and its value as the
    attribute `LOST`, since Optuna's best trial could else be one with the metric's declared worst.

    Args:
        storage: Optuna's storage.
        study_id: Of the Optuna study.
        trials: All its trials, by number.
        ids: Of the first of them, which are stored.
        ended: The numbers of those whose final state is not stored.
    """
    with storage.scoped_session() as session, session.begin():
        added = trials[len(ids) :]
        ids = [*ids, *(_add(session, study_id, added) if added else ())]
        if ended:
            _end(session, {ids[number]: trials[number] for number in ended})
    return ids


def _add(session: Any, study_id: int, added: Sequence[FrozenTrial]) -> list[int]:
    models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
    is_same = models.TrialModel.study_id == study_id
    is_later = models.TrialModel.number >= added[0].number
    stored = {row.number: row for row in session.query(models.TrialModel).filter(is_same, is_later)}
    rows = [stored.get(trial.number) or _row(study_id, trial) for trial in added]
    session.add_all(rows)
    session.flush()
    return [row.trial_id for row in rows]


def _row(study_id: int, trial: FrozenTrial) -> Any:
    return models.TrialModel(
        study_id=study_id,
        number=trial.number,
        state=TrialState.RUNNING,
        datetime_start=trial.datetime_start,
        params=[
            models.TrialParamModel(
                param_name=name,
                param_value=trial.distributions[name].to_internal_repr(value),
                distribution_json=distribution_to_json(trial.distributions[name]),
            )
            for name, value in trial.params.items()
        ],
        user_attributes=[
            _attribute(key, value) for key, value in trial.user_attrs.items() if key != LOST
        ],
    )


def _end(session: Any, ended: Mapping[int, FrozenTrial]) -> None:
    is_running = models.TrialModel.state == TrialState.RUNNING
    is_one = models.TrialModel.trial_id.in_(list(ended))
    running = session.query(models.TrialModel).filter(is_one, is_running).with_for_update()
    for row in running:
        trial = ended[row.trial_id]
        row.datetime_complete = datetime.now(UTC)
        is_lost = LOST in trial.user_attrs
        row.state = TrialState.FAIL if is_lost else trial.state
        if is_lost:
            session.add(_attribute(LOST, trial.user_attrs[LOST], trial_id=row.trial_id))
        elif trial.value is not None:
            value, kind = models.TrialValueModel.value_to_stored_repr(trial.value)
            session.add(
                models.TrialValueModel(
                    trial_id=row.trial_id, objective=0, value=value, value_type=kind
                )
            )


def _attribute(key: str, value: object, **of_trial: int) -> models.TrialUserAttributeModel:
    return models.TrialUserAttributeModel(key=key, value_json=json.dumps(value), **of_trial)
