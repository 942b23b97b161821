"""OptunaStudies: finds the Optuna studies and trials that record ours."""

from dataclasses import dataclass

from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.search import Storage
from gradnoise_service.store import studies, trials
from gradnoise_service.store.database import Database


@dataclass(frozen=True, kw_only=True)
class OptunaStudies:
    """Finds them by our ids, among the studies of every owner.

    Args:
        database: The service's database.
        storage: Optuna's storage in it.
    """

    database: Database
    storage: Storage

    def of_study(self, study_id: int, label: str | None = None) -> int:
        """Return the id of an Optuna study: that of a label, or the latest with a trial.

        Raises:
            NotFoundError: If there is no such study, or it is not in Optuna yet.
        """
        with self.database.session() as session:
            study = studies.get(session, study_id, None)
        keys = [key for key in study.design.search_keys if label in (None, key.label)]
        found = [self._find(study.search_name(key)) for key in reversed(keys)]
        ids = [optuna_id for optuna_id in found if optuna_id is not None]
        if not ids:
            raise NotFoundError(f"Study {study.spec.name!r} is not in Optuna yet.")
        return next((each for each in ids if self.storage.get_n_trials(each)), ids[-1])

    def of_trial(self, study_id: int, trial_id: int) -> tuple[int, int]:
        """Return the id of the Optuna study of a trial, and the trial's number in it.

        Raises:
            NotFoundError: If there is no such trial, or it has not started.
        """
        with self.database.session() as session:
            study = studies.get(session, study_id, None)
            trial = trials.get(session, study_id, trial_id)
            number = trials.optuna_numbers(session, study_id).get(trial_id)
        key = study.design.search_key(trial.phase, trial.arm, trial.number)
        found = self._find(study.search_name(key))
        if found is None or number is None:
            raise NotFoundError(f"The trial {trial.path} has not started, so Optuna has none.")
        return found, number

    def _find(self, name: str) -> int | None:
        try:
            return int(self.storage.get_study_id_from_name(name))
        except KeyError:
            return None
