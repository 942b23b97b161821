"""Optuna's rows of trials: written for many trials at once.

Optuna's own interface takes 39 statements and 9 commits a trial, which are most of a dispatcher's
work. These functions write the same rows through Optuna's models.
"""

import json
from collections.abc import Mapping, Sequence
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
    ids: Sequence[int] = (),
    ended: Sequence[int] = (),
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
        ended: The numbers of stored trials whose final state is not stored.
    """
    with storage.scoped_session() as session, session.begin():
        if added := trials[len(ids) :]:
            ids = [*ids, *_add(session, study_id, added)]
        if ended:
            _end(session, {ids[number]: trials[number] for number in ended})
    return list(ids)


def _add(session: Any, study_id: int, added: Sequence[FrozenTrial]) -> list[int]:
    models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
    is_same = models.TrialModel.study_id == study_id
    is_later = models.TrialModel.number >= added[0].number
    stored = {row.number: row for row in session.query(models.TrialModel).filter(is_same, is_later)}
    rows = [stored.get(trial.number) or _row(study_id, trial) for trial in added]
    session.add_all(rows)
    session.flush()
    return [row.trial_id for row in rows]


def _end(session: Any, ended: Mapping[int, FrozenTrial]) -> None:
    is_running = models.TrialModel.state == TrialState.RUNNING
    is_one = models.TrialModel.trial_id.in_(list(ended))
    running = session.query(models.TrialModel).filter(is_one, is_running).with_for_update()
    for row in running:
        trial = ended[row.trial_id]
        row.state, row.datetime_complete = _state(trial), trial.datetime_complete
        if LOST in trial.user_attrs:
            lost = _attribute(LOST, trial.user_attrs[LOST])
            lost.trial_id = row.trial_id
            session.add(lost)
        for value in _values(trial):
            value.trial_id = row.trial_id
            session.add(value)


def _row(study_id: int, trial: FrozenTrial) -> Any:
    return models.TrialModel(
        study_id=study_id,
        number=trial.number,
        state=_state(trial),
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=[
            models.TrialParamModel(
                param_name=name,
                param_value=trial.distributions[name].to_internal_repr(value),
                distribution_json=distribution_to_json(trial.distributions[name]),
            )
            for name, value in trial.params.items()
        ],
        user_attributes=[_attribute(key, value) for key, value in trial.user_attrs.items()],
        intermediate_values=[
            _rung(epoch, value) for epoch, value in trial.intermediate_values.items()
        ],
        values=_values(trial),
    )


def _state(trial: FrozenTrial) -> TrialState:
    return TrialState.FAIL if LOST in trial.user_attrs else trial.state


def _attribute(key: str, value: object) -> Any:
    return models.TrialUserAttributeModel(key=key, value_json=json.dumps(value))


def _rung(epoch: int, value: float) -> Any:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return models.TrialIntermediateValueModel(
        step=epoch, intermediate_value=stored, intermediate_value_type=kind
    )


def _values(trial: FrozenTrial) -> list[Any]:
    if trial.value is None or LOST in trial.user_attrs:
        return []
    stored, kind = models.TrialValueModel.value_to_stored_repr(trial.value)
    return [models.TrialValueModel(objective=0, value=stored, value_type=kind)]
