"""Use cases on the files that trials have saved."""

from collections.abc import Iterator, Sequence
from typing import Any

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.errors import ConflictError, NotFoundError
from gradnoise_service.domain.study import TrialFile
from gradnoise_service.store import files, studies
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.study_folders import StudyFolders

CHUNK_BYTES = 1 << 18


def listed(
    service: Service, caller: Caller, study_id: int, trial_id: int | None = None
) -> Sequence[TrialFile]:
    """Return the files of a study, or of a trial of it, by trial and name.

    Raises:
        NotFoundError: If there is no visible study with this id.
    """
    with service.database.session() as session:
        studies.describe(session, study_id, caller.visible_owner)
        return files.of_study(session, study_id, trial_id)


def content(
    service: Service, caller: Caller, study_id: int, trial_id: int, name: str
) -> tuple[TrialFile, Iterator[bytes]]:
    """Return a file of a trial, with its content in parts.

    Raises:
        NotFoundError: If there is no such file, or its study is not visible.
        ConflictError: If its content is being replaced.
    """
    with service.database.session() as session:
        studies.describe(session, study_id, caller.visible_owner)
        file = files.get(session, study_id, trial_id, name)
    system, folder = StudyFolders(url=service.settings.artifacts_url).of(study_id)
    path = f"{folder}/{file.place}"
    try:
        n_bytes = system.size(path)
        stream = system.open(path, "rb")
    except FileNotFoundError:
        raise NotFoundError(
            f"The content of {name} of trial {trial_id} is not in GRADNOISE_ARTIFACTS."
        ) from None
    if n_bytes != file.n_bytes:
        stream.close()
        raise ConflictError(f"{name} of trial {trial_id} is being replaced: try again.")
    return file, _parts(stream)


def _parts(stream: Any) -> Iterator[bytes]:
    with stream:
        while part := stream.read(CHUNK_BYTES):
            yield part
