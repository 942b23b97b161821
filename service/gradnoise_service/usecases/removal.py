"""Remover: removes deleted studies with all that they have left."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from gradnoise_service import search
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage
from gradnoise_service.store import deletion
from gradnoise_service.store.database import Database

log = structlog.get_logger()

N_AT_ONCE = 100
"""Trials whose rows are removed in a transaction, so that other writers wait briefly."""


@dataclass(frozen=True, kw_only=True)
class Remover:
    """Removes Optuna studies, checkpoints, files and rows of deleted studies.

    The row of a study is removed last, so that a process that is killed leaves the rest to the next
    one.

    Args:
        database: The service's database.
        storage: Optuna's storage in it.
        checkpoints: Folder of the checkpoints, with a subfolder for each study's id.
        artifacts_url: Folder or URL of the files that trials saved; None if they save none.
    """

    database: Database
    storage: Storage
    checkpoints: Path
    artifacts_url: str | None

    def run(self, ended_before: datetime) -> None:
        """Remove the deleted studies that ended before a time; what fails is logged, and stays."""
        with self.database.session() as session:
            studies = deletion.marked(session, ended_before)
        for study in studies:
            try:
                self._remove(study)
            except Exception:
                log.exception("a deleted study could not be removed", study=study.id)

    def _remove(self, study: Study) -> None:
        search.delete(self.storage, map(study.search_name, study.design.search_keys))
        folder = self.checkpoints / str(study.id)
        if folder.exists():
            shutil.rmtree(folder)
        if self.artifacts_url is not None:
            _remove_artifacts(self.artifacts_url, study.id)
        n_removed = N_AT_ONCE
        while n_removed:
            with self.database.session(write=True) as session:
                n_removed = deletion.remove_trials(session, study.id, N_AT_ONCE)
        with self.database.session(write=True) as session:
            deletion.remove(session, study.id)
        log.info("a deleted study was removed", study=study.id)


def _remove_artifacts(url: str, study_id: int) -> None:
    import fsspec  # type: ignore[import-untyped]

    system, root = fsspec.core.url_to_fs(url)
    folder = f"{root.rstrip('/')}/{study_id}"
    if system.exists(folder):
        system.rm(folder, recursive=True)
