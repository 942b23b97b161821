"""The pages of the Optuna Dashboard, without the controls that write, and their addresses."""

from collections.abc import Iterable
from typing import Any

from a2wsgi.wsgi_typing import Environ, StartResponse, WSGIApp
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gradnoise_service.api.parameters import MAX_ID
from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.usecases.optuna_studies import OptunaStudies

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
    """Redirects from the ids of our studies and trials to the dashboard's pages of them."""

    def __init__(self, found: OptunaStudies) -> None:
        self._found = found

    def study(self, request: Request) -> Response:
        """Redirect to an Optuna study: that of a label, or the latest with a trial."""
        values = request.path_params
        optuna_id = self._found.of_study(_known(values["study_id"]), values.get("label"))
        return RedirectResponse(f"/dashboard/studies/{optuna_id}", status_code=303)

    def trial(self, request: Request) -> Response:
        """Redirect to a trial in the list of trials of its Optuna study."""
        ids = (_known(request.path_params[name]) for name in ("study_id", "trial_id"))
        optuna_id, number = self._found.of_trial(*ids)
        address = f"/dashboard/studies/{optuna_id}/trials?numbers={number}"
        return RedirectResponse(address, status_code=303)


def _known(id: int) -> int:
    if id > MAX_ID:
        raise NotFoundError(f"There is nothing with the id {id}.")
    return id
