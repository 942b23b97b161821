"""The REST interface from Python; the command line is built on it.

with Client("http://127.0.0.1:8000") as client:
    study = client.submit_preset("demo")
    for progress in client.watch(study.id):
        print(progress.state, progress.seconds_left)
    print(client.report(study.id, "markdown"))
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ConfigDict, TypeAdapter

from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.study import (
    Extension,
    Metric,
    Progress,
    StudyState,
    Trial,
    TrialState,
)
from gradnoise_service.study_file import MalformedStudyError, parse_json, parse_yaml_documents

ReportFormat = Literal["json", "html", "markdown", "csv", "tex"]
MEDIA_TYPES: dict[ReportFormat, str] = {
    "json": "application/json",
    "html": "text/html",
    "markdown": "text/markdown",
    "csv": "text/csv",
    "tex": "application/x-tex",
}
FIGURES = (
    "confirm",
    "difference",
    "best_so_far",
    "learning_rate",
    "noise_map",
    "importance",
    "course",
    "noise_course",
)
DEFAULT_URL = "http://127.0.0.1:8000"
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
TRY_AGAIN = frozenset({502, 503, 504})


class ClientError(Exception):
    """The service did not do what was asked."""


class UnreachableError(ClientError):
    """No service answers at `url`; `reason` is what the network said."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"No service answers at {url}: {reason}.")


class ApiError(ClientError):
    """The service refused; what it said as problem+json stands in the attributes.

    Attributes:
        status: The HTTP status.
        title: The kind of problem, in a few words.
        detail: What is wrong this time.
        hint: What to do about it, or "".
        errors: For each fault of the request its `field`, `value`, `message` and what is `legal`.
        free_name: For a name that is taken: one that is not.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        self.hint = str(problem.get("hint") or "")
        self.errors: list[dict[str, Any]] = list(problem.get("errors") or [])
        self.free_name: str | None = problem.get("free_name")
        self.problem = dict(problem)
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)


class StudyInfo(BaseModel):
    """A submitted study as the service describes it; `links` leads to its page, its report and its
    Optuna Dashboard.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    owner: str
    state: StudyState
    workload: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    spec: StudySpec
    metric: Metric
    verdict: str | None = None
    extensions: tuple[Extension, ...] = ()
    links: dict[str, str]

    def asks(self, spec: StudySpec) -> bool:
        """Whether this was submitted as `spec`, in whatever words; seeds that an extension added
        are no other question.
        """
        n_seeds = self.spec.confirm.n_seeds - sum(
            extension.n_seeds for extension in self.extensions
        )
        submitted = self.spec.model_copy(
            update={"confirm": self.spec.confirm.model_copy(update={"n_seeds": n_seeds})}
        )
        return submitted.model_dump(exclude={"description"}) == spec.model_dump(
            exclude={"description"}
        )


PROGRESS = TypeAdapter(Progress)
TRIAL = TypeAdapter(Trial)


class Client:
    """Talks to one service; close it, or use it in a `with` block.

    What is safe to repeat is repeated when the connection fails or the service is being restarted;
    a submission is, because it carries an Idempotency-Key.

    Args:
        base_url: Where the service is.
        token: An API token; a service on a loopback address needs none.
        patience_seconds: How long a lost stream of events is taken up again before the service
            counts as unreachable.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, token: str | None = None, *, patience_seconds: float = 60
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._patience = patience_seconds
        headers = {"Accept": "application/json"} | (
            {"Authorization": f"Bearer {token.strip()}"} if token else {}
        )
        url = _url(self.base_url)
        is_local = url.host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx2.Client(
            base_url=url,
            headers=headers,
            timeout=httpx2.Timeout(30, connect=5),
            trust_env=not is_local,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self, study: StudySpec | Mapping[str, Any] | Path, *, idempotency_key: str | None = None
    ) -> StudyInfo:
        """Submit a study and return it; the same key with the same study submits it once.

        Args:
            study: A spec, its plain values, or a YAML or JSON file.
            idempotency_key: Any text that is new for a new study; a random one by default, which
                guards the repeats of this one call.

        Raises:
            MalformedStudyError: If the file is neither YAML nor JSON.
            ApiError: If the service refuses the study; nothing is stored then.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return _study(
            self._request(
                "POST", "/v1/studies", json=_plain(study), headers=headers, may_repeat=True
            )
        )

    def submit_once(self, study: StudySpec | Mapping[str, Any] | Path) -> tuple[StudyInfo, bool]:
        """Submit a study unless it is there already under its name; return it, and whether it is
        new. Its description may differ.

        Raises:
            ApiError: With status 409 if another study has the name, or as `submit`.
        """
        try:
            return self.submit(study), True
        except ApiError as error:
            there = next(self._named(_plain(study)["name"]), None) if error.free_name else None
            if there is None or not there.asks(StudySpec.model_validate(_plain(study))):
                raise
            return there, False

    def submit_preset(self, preset: str, name: str | None = None) -> StudyInfo:
        """Submit a preset of one study under its own name, or the next free one, or a name of your
        own.

        Raises:
            ClientError: If the preset is a table: submit each study that `preset` returns, by
                `submit_once`.
        """
        spec, *others = self.preset(preset)
        if others:
            raise ClientError(
                f"The preset {preset} is a table of {len(others) + 1} studies: submit each that "
                "Client.preset returns."
            )
        if name is not None:
            return self.submit({**spec, "name": name})
        while True:
            try:
                return self.submit(spec)
            except ApiError as error:
                if error.free_name is None:
                    raise
                spec = {**spec, "name": error.free_name}

    def studies(self, state: StudyState | None = None) -> Iterator[StudyInfo]:
        """Return the studies, newest first, page by page as they are asked for."""
        return map(StudyInfo.model_validate, self._pages("/v1/studies", {"state": state}))

    def study(self, study: int | str) -> StudyInfo:
        """Return a study by its id or its name."""
        if isinstance(study, int) or study.isdecimal():
            return _study(self._request("GET", f"/v1/studies/{study}"))
        try:
            for one in self._named(study):
                return one
        except ApiError as error:
            if error.status != 422:  # a text that is no name: then no study has it
                raise
        hint = "`gradnoise list` shows the studies."
        raise ApiError(
            404,
            {
                "title": "There is no such thing",
                "detail": f"There is no study named {study!r}.",
                "hint": hint,
            },
        )

    def progress(self, study_id: int) -> Progress:
        """Return how far a study is."""
        return PROGRESS.validate_json(
            self._request("GET", f"/v1/studies/{study_id}/progress").content
        )

    def watch(self, study_id: int) -> Iterator[Progress]:
        """Return how far a study is, again whenever that changes, until it has ended; a lost
        connection is taken up again.

        Raises:
            UnreachableError: If the service stays away for longer than `patience_seconds`.
        """
        last_id, attempt, lost_at = "", 0, time.monotonic()
        while True:
            try:
                headers = {"Last-Event-ID": last_id} if last_id else {}
                with self._http.sse(
                    f"/v1/studies/{study_id}/events",
                    headers=headers,
                    timeout=httpx2.Timeout(60, connect=5),
                ) as source:
                    _refuse(source.response)
                    for event in source:
                        last_id = event.id or last_id
                        if event.event == "end":
                            return
                        if event.event == "progress":
                            yield PROGRESS.validate_json(event.data)
                        attempt, lost_at = 0, time.monotonic()
                reason = "the stream of events ended early"
            except httpx2.TransportError as error:
                reason = _reason(error)
            except ApiError as error:
                if error.status not in TRY_AGAIN:
                    raise
                reason = error.title
            if time.monotonic() - lost_at > self._patience:
                raise UnreachableError(self.base_url, reason)
            time.sleep(BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)])
            attempt += 1

    def cancel(self, study_id: int) -> StudyInfo:
        """End a study now."""
        return _study(self._request("POST", f"/v1/studies/{study_id}/cancel", json={}))

    def extend(self, study_id: int, seeds: int, *, idempotency_key: str | None = None) -> StudyInfo:
        """Queue a complete study again for more confirm seeds, whose runs join those there are; its
        verdict is then given anew.

        Args:
            study_id: The study.
            seeds: How many more, at least 1; each arm runs once on each.
            idempotency_key: As of `submit`: the same key extends the study once.

        Raises:
            ApiError: With status 409 if the study is not complete, 422 if it would become too
                large.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return _study(
            self._request(
                "POST",
                f"/v1/studies/{study_id}/extend",
                json={"seeds": seeds},
                headers=headers,
                may_repeat=True,
            )
        )

    def trials(
        self,
        study_id: int,
        *,
        arm: str | None = None,
        phase: Phase | None = None,
        state: TrialState | None = None,
    ) -> Iterator[Trial]:
        """Return a study's trials in the order they were declared, page by page as they are asked
        for.
        """
        return map(
            TRIAL.validate_python,
            self._pages(
                f"/v1/studies/{study_id}/trials", {"arm": arm, "phase": phase, "state": state}
            ),
        )

    def measurements(self, study_id: int, trial_id: int) -> list[dict[str, Any]]:
        """Return a trial's metric values, epoch by epoch."""
        return list(self._pages(f"/v1/studies/{study_id}/trials/{trial_id}/measurements", {}))

    def report(self, study_id: int, format: ReportFormat = "json") -> str:
        """Return a study's report; while it runs, an interim one.

        Raises:
            ApiError: With status 409 as long as there is nothing to report.
        """
        return self._request(
            "GET", f"/v1/studies/{study_id}/report", headers={"Accept": MEDIA_TYPES[format]}
        ).text

    def figures(self, study_id: int, format: Literal["svg", "png"] = "svg") -> dict[str, bytes]:
        """Return the figures of a study's report as images by name, those that have something to
        show; raises as `report` does.
        """
        path = f"/v1/studies/{study_id}/report/figures/"
        images = {}
        for name in FIGURES:
            try:
                images[name] = bytes(
                    self._request("GET", path + name, params={"format": format}).content
                )
            except ApiError as error:
                if error.status != 404:
                    raise
        return images

    def comparison(self, study_id: int) -> dict[str, Any]:
        """Return what the JSON report says, as plain values; raises as `report` does."""
        plain: dict[str, Any] = json.loads(self.report(study_id, "json"))
        return plain

    def workloads(self) -> list[dict[str, Any]]:
        """Return what the workers can train."""
        return list(self._pages("/v1/workloads", {}))

    def techniques(self) -> list[dict[str, Any]]:
        """Return what an arm can do to training."""
        return list(self._pages("/v1/techniques", {}))

    def optimizers(self) -> list[dict[str, Any]]:
        """Return the optimizers that a study can name."""
        named: list[dict[str, Any]] = self._request("GET", "/v1/techniques").json()["optimizers"]
        return named

    def presets(self) -> list[dict[str, Any]]:
        """Return the presets' names, descriptions, scales and numbers of studies."""
        return list(self._pages("/v1/presets", {}))

    def preset(
        self, name: str, scale: str = "full", row: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the studies of a preset at a scale as plain values, or of one row of a table
        alone; most presets are a single study, and have neither rows nor another scale.
        """
        params = {"scale": scale} | ({"row": row} if row is not None else {})
        shown = self._request("GET", "/v1/presets/" + quote(name, safe=""), params=params).json()
        studies: list[dict[str, Any]] = shown["studies"]
        return studies

    def tokens(self) -> list[dict[str, Any]]:
        """Return what is known of every token, for administrators."""
        return list(self._pages("/v1/tokens", {}))

    def create_token(
        self,
        name: str,
        *,
        owner: str,
        scopes: Sequence[str] = ("read", "submit"),
        days: int | None = 90,
    ) -> dict[str, Any]:
        """Make a token and return it with its description, for administrators; `token` in it is
        seen this one time.
        """
        wanted = {"name": name, "owner": owner, "scopes": list(scopes), "days": days}
        made: dict[str, Any] = self._request("POST", "/v1/tokens", json=wanted).json()
        return made

    def revoke_token(self, name: str) -> None:
        """Delete a token, for administrators."""
        self._request("DELETE", "/v1/tokens/" + quote(name, safe=""))

    def readiness(self) -> dict[str, Any]:
        """Return what /readyz says, whether the service is ready or not."""
        try:
            plain: dict[str, Any] = self._http.request("GET", "/readyz").json()
        except httpx2.TransportError as error:
            raise UnreachableError(self.base_url, _reason(error)) from None
        return plain

    def _named(self, name: str) -> Iterator[StudyInfo]:
        return map(StudyInfo.model_validate, self._pages("/v1/studies", {"name": name}))

    def _pages(self, path: str, params: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
        page = self._request(
            "GET", path, params={k: v for k, v in params.items() if v is not None}
        ).json()
        yield from page["items"]
        while page.get("next"):
            page = self._request("GET", page["next"]).json()
            yield from page["items"]

    def _request(
        self, method: str, path: str, *, may_repeat: bool = False, **parts: Any
    ) -> httpx2.Response:
        may_repeat = may_repeat or method == "GET"
        pauses = list(BACKOFF_SECONDS[:3])
        while True:
            pause = pauses.pop(0) if pauses else None
            try:
                response = self._http.request(method, path, **parts)
            except httpx2.TransportError as error:
                has_connected = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if pause is None or not (may_repeat and has_connected):
                    raise UnreachableError(self.base_url, _reason(error)) from None
            else:
                is_refused_unread = response.status_code == 429
                if pause is None or not (
                    is_refused_unread or (may_repeat and response.status_code in TRY_AGAIN)
                ):
                    return _refuse(response)
                pause = max(pause, _retry_after(response))
            time.sleep(pause)


def _url(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise UnreachableError(text, str(error)) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UnreachableError(text, "an address looks like http://127.0.0.1:8000")
    return url


def _plain(study: StudySpec | Mapping[str, Any] | Path) -> dict[str, Any]:
    if isinstance(study, StudySpec):
        return study.model_dump(mode="json", exclude_defaults=True)
    if isinstance(study, Path):
        return read_study(study)
    return dict(study)


def read_study(path: Path) -> dict[str, Any]:
    """Return the plain values of a study file: JSON where the name ends in .json, else YAML.

    Raises:
        OSError: If the file cannot be read.
        MalformedStudyError: If it is not what its name says, or holds several studies.
    """
    study, *others = read_studies(path)
    if others:
        raise MalformedStudyError(
            f"{path.name} holds {len(others) + 1} studies: submit them one by one"
        )
    return study


def read_studies(path: Path) -> list[dict[str, Any]]:
    """Return the plain values of every study of a file, of which YAML may hold several, with `---`
    between them; raises as `read_study`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedStudyError(f"not UTF-8 at byte {error.start}") from None
    return [parse_json(text)] if path.suffix.lower() == ".json" else parse_yaml_documents(text)


def _study(response: httpx2.Response) -> StudyInfo:
    return StudyInfo.model_validate_json(response.content)


def _refuse(response: httpx2.Response) -> httpx2.Response:
    """Return a response that is a success, raise what it says otherwise."""
    if response.is_success:
        return response
    response.read()
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {
            "title": f"HTTP {response.status_code} {response.reason_phrase}",
            "detail": response.text[:500],
        }
    raise ApiError(response.status_code, problem)


def _retry_after(response: httpx2.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isdecimal() else 0.0


def _reason(error: httpx2.TransportError) -> str:
    text = str(error).removeprefix("[Errno 111] ").strip().rstrip(".")
    return (text[:1].lower() + text[1:]) or type(error).__name__
