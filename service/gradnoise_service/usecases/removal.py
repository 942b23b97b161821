"""Remover: removes deleted studies, and what ended studies have left once it is old."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from gradnoise_service import search
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage
from gradnoise_service.store import deletion, retention
from gradnoise_service.store.database import Database
from gradnoise_service.usecases.study_folders import StudyFolders

log = structlog.get_logger()

N_AT_ONCE = 100
"""Trials whose rows are removed in a transaction, so that other writers wait briefly."""


@dataclass(frozen=True, kw_only=True)
class Remover:
    """Removes deleted studies with all that they have left, and logs and files of old ones.

    The row of a study is removed or written last, so that a process that is killed leaves the rest
    to the next one.

    Args:
        database: The service's database.
        storage: Optuna's storage in it.
        folders: Where the studies have checkpoints, and files that trials saved.
    """

    database: Database
    storage: Storage
    folders: Sequence[StudyFolders]

    def run(self, before: datetime) -> None:
        """Remove the studies that ended and were deleted before a time.

        What fails is logged, and stays.
        """
        with self.database.session() as session:
            studies = deletion.marked(session, before)
        for study in studies:
            try:
                self._remove(study)
            except Exception:
                log.exception("a deleted study could not be removed", study=study.id)

    def prune(self, ended_before: datetime, now: datetime) -> list[Study]:
        """Remove logs, files and checkpoints of the studies that ended before a time.

        Their trials, measurements, comparison and Optuna studies stay.

        Returns:
            The studies of which something was removed; what fails is logged, and stays.
        """
        with self.database.session() as session:
            old = retention.ended(session, ended_before, pruned=False)
        return [study for study in old if self._prune(study, ended_before, now)]

    def _prune(self, study: Study, ended_before: datetime, now: datetime) -> bool:
        try:
            with self.database.session(write=True) as session:
                # no extension can start in between
                if not retention.lock(session, study.id, ended_before):
                    return False
                self._remove_files(study.id)
                retention.forget(session, study.id, now)
        except Exception:
            log.exception("the logs and files of a study could not be removed", study=study.id)
            return False
        log.info("logs and files of an old study were removed", study=study.id)
        return True

    def _remove_files(self, study_id: int) -> None:
        for place in self.folders:
            place.remove(study_id)

    def _remove(self, study: Study) -> None:
        search.delete(self.storage, map(study.search_name, study.design.search_keys))
        self._remove_files(study.id)
        n_removed = N_AT_ONCE
        while n_removed:
            with self.database.session(write=True) as session:
                n_removed = deletion.remove_trials(session, study.id, N_AT_ONCE)
        with self.database.session(write=True) as session:
            deletion.remove(session, study.id)
        log.info("a deleted study was removed", study=study.id)
