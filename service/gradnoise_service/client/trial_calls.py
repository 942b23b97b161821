"""The methods of the client on the trials of a study: measurements, attempts, logs, files."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

from pydantic import TypeAdapter

from gradnoise_service.client.errors import ApiError, ClientError
from gradnoise_service.client.transport import Transport
from gradnoise_service.client.trials import Trials
from gradnoise_service.domain.log import AttemptRecord, LogPiece
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import STUDY_ENDED, Trial, TrialFile, TrialState

FOLLOW_SECONDS = 1.0
TRIAL = TypeAdapter(Trial)
ATTEMPT = TypeAdapter(AttemptRecord)
PIECE = TypeAdapter(LogPiece)
FILE = TypeAdapter(TrialFile)


def is_id(text: str) -> bool:
    """Return whether a text is an id, not a name: digits alone."""
    return text.isascii() and text.isdecimal()


class TrialCalls:
    """Base class of `Client`."""

    _transport: Transport

    def trials(
        self,
        study_id: int,
        *,
        arm: str | None = None,
        phase: Phase | None = None,
        state: TrialState | None = None,
    ) -> Trials:
        """Return a study's trials in the order of their ids; pages are fetched on demand."""
        filters = {"arm": arm, "phase": phase, "state": state}
        trials = self._transport.pages(f"/v1/studies/{study_id}/trials", filters)
        return Trials(map(TRIAL.validate_python, trials))

    def trial(self, study_id: int, trial: int | str) -> Trial:
        """Return a trial by its id, or as `phase/arm/number`, such as `search/noisy/3`.

        Raises:
            ApiError: With status 404 if the study has no such trial.
        """
        if isinstance(trial, int) or is_id(trial):
            response = self._transport.request("GET", f"/v1/studies/{study_id}/trials/{trial}")
            return TRIAL.validate_json(response.content)
        phase, _, rest = trial.partition("/")
        arm, _, number = rest.rpartition("/")
        known: tuple[Phase, ...] = get_args(Phase)
        of_arm = (self.trials(study_id, arm=arm, phase=each) for each in known if each == phase)
        for found in next(of_arm, ()):
            if str(found.number) == number:
                return found
        raise ApiError(
            404,
            {
                "title": "Not found",
                "detail": f"Study {study_id} has no trial {trial!r}.",
                "hint": "A trial is given by its id, or as phase/arm/number: search/noisy/3.",
            },
        )

    def measurements(self, study_id: int, trial_id: int) -> list[dict[str, Any]]:
        """Return a trial's metric values, epoch by epoch."""
        path = f"/v1/studies/{study_id}/trials/{trial_id}/measurements"
        return list(self._transport.pages(path, {}))

    def attempts(self, study_id: int, trial_id: int) -> list[AttemptRecord]:
        """Return a trial's attempts in order, each with its outcome and its error."""
        path = f"/v1/studies/{study_id}/trials/{trial_id}/attempts"
        return [ATTEMPT.validate_python(each) for each in self._transport.pages(path, {})]

    def log(self, study_id: int, trial_id: int) -> str:
        """Return what a trial has printed, attempt by attempt.

        Of much output the start and the end are kept. Of trials that train as one model, it is what
        any of them has printed.
        """
        path = f"/v1/studies/{study_id}/trials/{trial_id}/log"
        headers = {"Accept": "text/plain"}
        return self._transport.request("GET", path, headers=headers).text

    def log_pieces(
        self, study_id: int, trial_id: int | None = None, *, follow: bool = False
    ) -> Iterator[LogPiece]:
        """Yield what the trials of a study have printed, in the order in which it was stored.

        Args:
            study_id: The study.
            trial_id: A trial of it; None for all.
            follow: Whether to wait for more until the study, or the trial, has ended.
        """
        path, after = f"/v1/studies/{study_id}/log", 0
        while True:
            # read before the log: what is printed until the end is stored with it, or before
            has_ended = not follow or self._has_ended(study_id, trial_id)
            query = {"after": str(after), "trial": None if trial_id is None else str(trial_id)}
            for piece in map(PIECE.validate_python, self._transport.pages(path, query)):
                after = piece.id
                yield piece
            if has_ended:
                return
            time.sleep(FOLLOW_SECONDS)

    def files(self, study_id: int, trial_id: int | None = None) -> list[TrialFile]:
        """Return the files that the trials of a study, or one of them, have saved."""
        query = {"trial": None if trial_id is None else str(trial_id)}
        found = self._transport.pages(f"/v1/studies/{study_id}/files", query)
        return [FILE.validate_python(each) for each in found]

    def download(self, study_id: int, file: TrialFile, path: Path) -> None:
        """Write a file that a trial has saved to a path; its folder must exist.

        Raises:
            ClientError: If the content is not that whose SHA-256 is stored.
        """
        unfinished, digest = path.with_name(f".{path.name}.part"), hashlib.sha256()
        source = f"/v1/studies/{study_id}/trials/{file.trial_id}/files/{quote(file.name)}"
        try:
            with unfinished.open("wb") as copy:
                for part in self._transport.stream(source):
                    digest.update(part)
                    copy.write(part)
            if digest.hexdigest() != file.sha256:
                raise ClientError(
                    f"{file.name} of trial {file.trial_id} has another content than was stored."
                )
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _has_ended(self, study_id: int, trial_id: int | None) -> bool:
        if trial_id is not None and self.trial(study_id, trial_id).has_ended:
            return True
        study = self._transport.request("GET", f"/v1/studies/{study_id}/progress").json()
        return study["state"] in STUDY_ENDED
