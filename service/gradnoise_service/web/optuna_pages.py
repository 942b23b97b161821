"""The pages of the Optuna Dashboard, without the controls that write, and their addresses."""

from collections.abc import Iterable
from typing import Any

from a2wsgi.wsgi_typing import Environ, StartResponse, WSGIApp
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gradnoise_service.api.parameters import MAX_ID
from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage
from gradnoise_service.store import studies, trials
from gradnoise_service.store.database import Database

HIDDEN = (
    '[aria-label="delete study"]',
    '[aria-label="rename study"]',
    'button:has([data-testid="AddBoxIcon"])',  # create a study
    'button:has([data-testid="EditIcon"])',  # edit a note
    'button:has([data-testid="StopCircleIcon"])',  # fail a trial
)
"""The controls of the dashboard that send a request other than GET."""
STYLE = f"<style>{', '.join(HIDDEN)} {{ display: none !important; }}</style></head>".encode()


def read_only(app: WSGIApp) -> WSGIApp:
    """Return the dashboard with the controls hidden that would write."""

    def respond(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/dashboard"):
            return app(environ, start_response)
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
            started.append((status, headers))

        parts = app(environ, start)
        try:
            body = b"".join(parts).replace(b"</head>", STYLE, 1)
        finally:
            getattr(parts, "close", lambda: None)()
        [(status, headers)] = started
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*kept, ("Content-Length", str(len(body)))])
        return [body]

    return respond


class Addresses:
    """Redirects from the ids of our studies and trials to the dashboard's pages of them.

    Args:
        database: The service's database.
        storage: Optuna's storage in it.
    """

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    def study(self, request: Request) -> Response:
        """Redirect to an Optuna study: that of a label, or the latest with a trial."""
        found = self._study(request.path_params["study_id"])
        label = request.path_params.get("label")
        names = [
            found.search_name(key)
            for key in reversed(found.design.search_keys)
            if label in (None, key.label)
        ]
        ids = [optuna_id for name in names if (optuna_id := self._find(name)) is not None]
        if not ids:
            raise NotFoundError(f"Optuna has no trials of study {found.spec.name!r} yet.")
        shown = next((id for id in ids if self._storage.get_n_trials(id)), ids[-1])
        return RedirectResponse(f"/dashboard/studies/{shown}", status_code=303)

    def trial(self, request: Request) -> Response:
        """Redirect to a trial in the list of trials of its Optuna study."""
        study = self._study(request.path_params["study_id"])
        trial_id = min(request.path_params["trial_id"], MAX_ID)
        with self._database.session() as session:
            trial = trials.get(session, study.id, trial_id)
            number = trials.optuna_numbers(session, study.id).get(trial_id)
        key = study.design.search_key(trial.phase, trial.arm, trial.number)
        found = self._find(study.search_name(key))
        if found is None or number is None:
            raise NotFoundError(f"The trial {trial.path} has not started, so Optuna has none.")
        address = f"/dashboard/studies/{found}/trials?numbers={number}"
        return RedirectResponse(address, status_code=303)

    def _study(self, study_id: int) -> Study:
        if study_id > MAX_ID:
            raise NotFoundError(f"There is no study {study_id}.")
        with self._database.session() as session:
            return studies.get(session, study_id, None)

    def _find(self, name: str) -> int | None:
        try:
            return int(self._storage.get_study_id_from_name(name))
        except KeyError:
            return None
