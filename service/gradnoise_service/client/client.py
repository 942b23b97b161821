"""Client: the REST interface as typed Python methods; the command line is built on it."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from pydantic import TypeAdapter

from gradnoise_service.client.changes import changed
from gradnoise_service.client.errors import ApiError, ClientError
from gradnoise_service.client.report_calls import ReportCalls
from gradnoise_service.client.study_files import StudySource, plain_values
from gradnoise_service.client.study_info import StudyInfo
from gradnoise_service.client.transport import Transport
from gradnoise_service.client.trial_calls import TrialCalls, is_id
from gradnoise_service.client.verb_calls import VerbCalls
from gradnoise_service.domain.catalogue import BrokenEntry
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.remarks import StudyFilter
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import StudyState, Verdict

DEFAULT_URL = "http://127.0.0.1:8000"
PROGRESS = TypeAdapter(Progress)


class Client(TrialCalls, ReportCalls, VerbCalls):
    """A connection to one service; close it, or use it in a `with` block.

    Safe requests are repeated after a connection failure or a restart of the service. Submissions
    and extensions are safe because they carry an Idempotency-Key, verbs because a repeated one has
    no effect.

    Args:
        base_url: The address of the service.
        token: An API token; a service on a loopback address needs none.
        patience_seconds: How long to reconnect a lost event stream before the service counts as
            unreachable.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, token: str | None = None, *, patience_seconds: float = 60
    ) -> None:
        self._transport = Transport(base_url, token, patience_seconds=patience_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def close(self) -> None:
        self._transport.close()

    def submit(
        self,
        study: StudySource,
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> StudyInfo:
        """Submit a study and return it, with its plan.

        Args:
            study: A spec, its plain values, or a YAML or JSON file.
            dry_run: Return the study as it would be stored, and store nothing.
            idempotency_key: Identifies this submission: a second submission of the same study with
                the same key returns the first. Random by default.

        Raises:
            MalformedStudyError: If the file is neither YAML nor JSON.
            ApiError: If the service refuses the study; nothing is stored then.
        """
        path = "/v1/studies" + ("?dry_run=true" if dry_run else "")
        return self._post_once(path, plain_values(study), idempotency_key)

    def submit_once(self, study: StudySource, *, dry_run: bool = False) -> tuple[StudyInfo, bool]:
        """Submit a study unless the same study exists under its name.

        Returns:
            The study, and True if it is new. The description of an existing study may differ.

        Raises:
            ApiError: With status 409 if a different study has the name, or as `submit`.
        """
        values = plain_values(study)
        try:
            return self.submit(values, dry_run=dry_run), True
        except ApiError as error:
            existing = None if error.study_id is None else self.study(error.study_id)
            if existing is None or not existing.was_submitted_as(StudySpec.model_validate(values)):
                raise
            return existing, False

    def submit_preset(
        self, preset: str, name: str | None = None, *, dry_run: bool = False
    ) -> StudyInfo:
        """Submit a preset of one study under `name`, by default its preset name or the next free.

        Raises:
            ClientError: If the preset has several studies: pass each study that `preset` returns to
                `submit_once`.
        """
        spec, *others = self.preset(preset)
        if others:
            raise ClientError(
                f"The preset {preset} has {len(others) + 1} studies: submit each study that "
                "Client.preset returns."
            )
        if name is not None:
            return self.submit({**spec, "name": name}, dry_run=dry_run)
        return self.submit_renamed(spec, dry_run=dry_run)

    def submit_renamed(self, study: StudySource, *, dry_run: bool = False) -> StudyInfo:
        """Submit a study under its name, or under the next free one; raises as `submit`."""
        values = plain_values(study)
        while True:
            try:
                return self.submit(values, dry_run=dry_run)
            except ApiError as error:
                if error.free_name is None:
                    raise
                values = {**values, "name": error.free_name}

    def store_source(self, source: Source) -> None:
        """Store the code of a study, which then names `source.hash`.

        The service must allow it, and the token needs the scope `code`.

        Raises:
            ApiError: With status 403 if the service takes no code or the token lacks the scope.
        """
        self._transport.request("POST", "/v1/sources", json=asdict(source), may_repeat=True)

    def source(self, study_id: int) -> Source:
        """Return the code of a study, without what it announces.

        Raises:
            ApiError: With status 404 if the workload of the study is installed.
        """
        plain = self._transport.request("GET", f"/v1/studies/{study_id}/source").json()
        fields = {name: plain[name] for name in ("name", "files", "folder")}
        return Source(**fields, announced={})

    def studies(
        self,
        state: StudyState | None = None,
        *,
        verdict: Verdict | None = None,
        workload: str | None = None,
        owner: str | None = None,
        tag: str | None = None,
        text: str | None = None,
    ) -> Iterator[StudyInfo]:
        """Yield the studies, newest first; pages are fetched on demand.

        Each argument that is given restricts them; `text` to those that have it in their name, note
        or tags.
        """
        only = StudyFilter(
            state=state, verdict=verdict, workload=workload, owner=owner, tag=tag, text=text
        )
        return map(StudyInfo.model_validate, self._transport.pages("/v1/studies", asdict(only)))

    def study(self, study: int | str) -> StudyInfo:
        """Return a study by its id or its name; digits alone are an id.

        Raises:
            ApiError: With status 404 if there is no such study, 409 if an administrator sees
                several.
        """
        if isinstance(study, int) or is_id(study):
            response = self._transport.request("GET", f"/v1/studies/{study}")
            return StudyInfo.model_validate_json(response.content)
        try:
            items = self._transport.pages("/v1/studies", {"name": study})
            found = [StudyInfo.model_validate(item) for item in items]
        except ApiError as error:
            if error.status != 422:  # the text is not a legal name, so no study has it
                raise
            found = []
        if len(found) == 1:
            return found[0]
        problem = {
            "title": "Not found",
            "detail": f"There is no study named {study!r}.",
            "hint": "`gradnoise list` shows the studies.",
        }
        if found:
            which = ", ".join(f"{each.id} of {each.owner}" for each in found)
            problem = {
                "title": "Several owners have this name",
                "detail": f"Several studies are named {study!r}: {which}.",
                "hint": "Give its id.",
            }
        raise ApiError(409 if found else 404, problem)

    def progress(self, study_id: int) -> Progress:
        """Return the progress of a study."""
        response = self._transport.request("GET", f"/v1/studies/{study_id}/progress")
        return PROGRESS.validate_json(response.content)

    def watch(self, study_id: int) -> Iterator[Progress]:
        """Yield the progress of a study at each change until the study ends.

        Raises:
            UnreachableError: If the service stays unreachable for longer than `patience_seconds`.
        """
        for name, data in self._transport.events(f"/v1/studies/{study_id}/events"):
            if name == "progress":
                yield PROGRESS.validate_json(data)

    def wait(self, study_id: int) -> StudyInfo:
        """Wait until a study ends and return it; raises as `watch`."""
        for _ in self.watch(study_id):
            pass
        return self.study(study_id)

    def remark(
        self, study_id: int, *, tags: Sequence[str] | None = None, note: str | None = None
    ) -> StudyInfo:
        """Replace the tags of a study, its note, or both, in any state; returns the study.

        Args:
            study_id: The study.
            tags: All its tags from now on; None leaves them as they are.
            note: Its note from now on; None leaves it as it is.

        Raises:
            ApiError: With status 422 if a tag is not of 1 to 40 lower-case letters, digits, `_`,
                `.` or `-`, or the note is longer than 10,000 characters.
        """
        body = {"tags": None if tags is None else list(tags), "note": note}
        response = self._transport.request(
            "PATCH", f"/v1/studies/{study_id}", json=body, may_repeat=True
        )
        return StudyInfo.model_validate_json(response.content)

    def delete(self, study_id: int) -> None:
        """Delete a study for good, with its trials, logs, files and Optuna studies.

        Raises:
            ApiError: With status 409 if it runs, 404 if there is no such study.
        """
        self._transport.request("DELETE", f"/v1/studies/{study_id}", may_repeat=True)

    def cloned(self, study_id: int) -> dict[str, Any]:
        """Return the plain values of a study under a free name, to be changed and submitted."""
        path = f"/v1/studies/{study_id}/clone"
        values: dict[str, Any] = self._transport.request("GET", path).json()
        return values

    def clone(
        self,
        study_id: int,
        changes: Mapping[str, Any] | None = None,
        *,
        removed: Sequence[str] = (),
        dry_run: bool = False,
    ) -> StudyInfo:
        """Submit a study again, with changes, under the next free name or the one in the changes.

        Args:
            study_id: The study.
            changes: New values by dotted path, such as `{"arms.noisy.space.eta": 0.1}`.
            removed: Dotted paths of fields that the copy does not have, so that defaults apply.
            dry_run: Return the study as it would be stored, and store nothing.

        Raises:
            ClientError: If a path leads to no field.
            ApiError: As `submit`.
        """
        values = changed(self.cloned(study_id), changes or {}, removed)
        if "name" in (changes or {}):
            return self.submit(values, dry_run=dry_run)
        return self.submit_renamed(values, dry_run=dry_run)

    def extend(
        self,
        study_id: int,
        seeds: int | None = None,
        *,
        epochs: int | None = None,
        dry_run: bool = False,
        accept_changed_code: bool = False,
        idempotency_key: str | None = None,
    ) -> StudyInfo:
        """Queue a complete study again with more confirm seeds, or more epochs of each confirm run.

        The existing runs are kept, and the verdict is computed again over all runs. The field
        `false_verdict_chance` of the returned study is the probability that equal arms are called
        different at any look after this extension.

        Args:
            study_id: The study.
            seeds: The number of further seeds, at least 1; each arm runs once on each seed.
            epochs: In place of seeds: the epochs by which each confirm run is trained on.
            dry_run: Return the study as it would be extended, and store nothing.
            accept_changed_code: Whether the further runs may be of other code.
            idempotency_key: As for `submit`: the same key extends the study once.

        Raises:
            ApiError: With status 409 if the study is not complete, 422 if it would become too
                large or its runs cannot be trained on.
        """
        path = f"/v1/studies/{study_id}/extend" + ("?dry_run=true" if dry_run else "")
        more = {"seeds": seeds, "epochs": epochs}
        body = {name: n for name, n in more.items() if n is not None}
        body["accept_changed_code"] = accept_changed_code
        return self._post_once(path, body, idempotency_key)

    def workloads(self) -> list[dict[str, Any]]:
        """Return the workloads that the workers can train."""
        return list(self._transport.pages("/v1/workloads", {}))

    def broken(self) -> list[BrokenEntry]:
        """Return the installed workloads, techniques and optimizers that cannot be used."""
        answer = self._transport.request("GET", "/v1/workloads").json()
        return [BrokenEntry(**each) for each in answer["broken"]]

    def techniques(self) -> list[dict[str, Any]]:
        """Return the techniques that an arm can use."""
        return list(self._transport.pages("/v1/techniques", {}))

    def optimizers(self) -> list[dict[str, Any]]:
        """Return the optimizers that a study can use."""
        return list(self._transport.request("GET", "/v1/techniques").json()["optimizers"])

    def presets(self) -> list[dict[str, Any]]:
        """Return name, description, scales and number of studies of each preset."""
        return list(self._transport.pages("/v1/presets", {}))

    def preset(
        self, name: str, scale: str = "full", row: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the studies of a preset as plain values.

        Args:
            name: The preset's name.
            scale: A scale of a paper table; a preset of one study has only `full`.
            row: A row of a paper table, to get only the study of this row.
        """
        params = {"scale": scale} | ({"row": row} if row is not None else {})
        path = "/v1/presets/" + quote(name, safe="")
        studies: list[dict[str, Any]] = self._transport.request("GET", path, params=params).json()[
            "studies"
        ]
        return studies

    def tokens(self) -> list[dict[str, Any]]:
        """Return the description of every token; requires the scope `admin`."""
        return list(self._transport.pages("/v1/tokens", {}))

    def create_token(
        self,
        name: str,
        *,
        owner: str,
        scopes: Sequence[str] = ("read", "submit"),
        days: int | None = 90,
    ) -> dict[str, Any]:
        """Create a token and return its description; requires the scope `admin`.

        The field `token` is the token, which cannot be read again.
        """
        body = {"name": name, "owner": owner, "scopes": list(scopes), "days": days}
        token: dict[str, Any] = self._transport.request("POST", "/v1/tokens", json=body).json()
        return token

    def revoke_token(self, name: str) -> None:
        """Delete a token; requires the scope `admin`."""
        self._transport.request("DELETE", "/v1/tokens/" + quote(name, safe=""))

    def readiness(self) -> dict[str, Any]:
        """Return the answer of /readyz, whether the service is ready or not."""
        plain: dict[str, Any] = self._transport.get_once("/readyz").json()
        return plain

    def _post_once(self, path: str, body: object, idempotency_key: str | None) -> StudyInfo:
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        response = self._transport.request(
            "POST", path, json=body, headers=headers, may_repeat=True
        )
        return StudyInfo.model_validate_json(response.content)
