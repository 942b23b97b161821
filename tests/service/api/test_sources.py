"""Code is taken where the operator allows it, from tokens with its scope, for their owner alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from gradnoise_service.cli.app import app
from gradnoise_service.client import Client
from gradnoise_service.domain.plain_text import plain
from gradnoise_service.domain.source import Source
from gradnoise_service.local import sources
from gradnoise_service.local.errors import LocalServiceError

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("announced"),
]
ALLOWED = {"host": "0.0.0.0", "admin_token": "secret", "allow_code": "submitters"}
Connect = Callable[..., TestClient]


@pytest.fixture
def code(catalogue_document: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request that stores a file with the workload `own`."""
    workload = {**catalogue_document["workloads"][0], "name": "own"}
    return {
        "name": "train.py",
        "files": {"train.py": "import model  # <script>\x1b[2J\n", "model.py": "width = 1"},
        "folder": "/home/ann",
        "announced": {"workloads": [workload], "techniques": [], "optimizers": []},
    }


def tokens(admin: TestClient) -> dict[str, dict[str, str]]:
    """Return the headers of an owner without the scope `code` and of two owners with it."""
    scopes = {"reader": ["read", "submit"], "ann": ["read", "submit", "code"], "bob": ["admin"]}
    answers = {
        owner: admin.post("/v1/tokens", json={"name": owner, "owner": owner, "scopes": of_owner})
        for owner, of_owner in scopes.items()
    }
    return {
        owner: {"Authorization": f"Bearer {answer.json()['token']}"}
        for owner, answer in answers.items()
    }


def test_a_study_runs_the_code_that_its_owner_stored(
    make_client: Connect, code: dict[str, Any], make_spec: Callable[..., Any]
) -> None:
    client = make_client("secret", **ALLOWED)
    headers = tokens(client)
    stored = client.post("/v1/sources", json=code, headers=headers["ann"])
    assert stored.status_code == 201
    source = Source(**code)
    assert stored.json()["hash"] == source.hash
    spec = make_spec(workload="own", source=source.hash).model_dump(mode="json")
    of_bob = client.post("/v1/studies", json=spec, headers=headers["bob"])
    assert (of_bob.status_code, of_bob.json()["errors"][0]["field"]) == (422, "source")
    study = client.post("/v1/studies", json=spec, headers=headers["ann"])
    assert study.status_code == 201
    shown = client.get(f"/v1/studies/{study.json()['id']}/source", headers=headers["ann"])
    assert shown.json()["files"] == code["files"]
    page = client.get(f"/studies/{study.json()['id']}", headers=headers["ann"]).text
    assert source.hash in page
    assert "import model  # &lt;script&gt;" in page
    hidden = client.get(f"/v1/studies/{study.json()['id']}/source", headers=headers["reader"])
    assert hidden.status_code == 404


def test_a_token_without_the_scope_may_not_send_code(
    make_client: Connect, code: dict[str, Any]
) -> None:
    client = make_client("secret", **ALLOWED)
    answer = client.post("/v1/sources", json=code, headers=tokens(client)["reader"])
    assert (answer.status_code, "'code'" in answer.json()["detail"]) == (403, True)


def test_a_service_takes_no_code_by_default(make_client: Connect, code: dict[str, Any]) -> None:
    """Also on a loopback address, where every caller has every scope."""
    answer = make_client().post("/v1/sources", json=code)
    assert (answer.status_code, answer.json()["type"]) == (403, "/docs#code-not-allowed")
    assert "gradnoise run" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a/b.py"}, "name"),
        ({"name": "other.py"}, "body"),
        ({"files": {"train.txt": ""}}, "files"),
        ({"files": {"train.py": "\0"}}, "files.train.py"),
        ({"files": {"train.py": "#" * 500_001}}, "files"),
        ({"announced": {"workloads": [{"name": "own"}]}}, "announced"),
        ({"more": 1}, "more"),
    ],
)
def test_illegal_code_is_refused(
    make_client: Connect, code: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    client = make_client("secret", **ALLOWED)
    answer = client.post("/v1/sources", json=code | changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)


def test_a_declared_name_may_not_be_installed(make_client: Connect, code: dict[str, Any]) -> None:
    code["announced"]["workloads"][0]["name"] = "mlp"
    answer = make_client("secret", **ALLOWED).post("/v1/sources", json=code)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "source")


def test_a_study_of_an_installed_workload_has_no_code(make_client: Connect, workshop: Any) -> None:
    study = workshop.queued()
    answer = make_client().get(f"/v1/studies/{study.id}/source")
    assert (answer.status_code, "installed" in answer.json()["detail"]) == (404, True)


def test_client_and_command_read_the_code_that_was_stored(
    serve: Callable[..., Any],
    code: dict[str, Any],
    make_spec: Callable[..., Any],
    worker: Any,
    tmp_path: Path,
) -> None:
    url, source = serve(allow_code="submitters").url, Source(**code)
    with Client(url) as client:
        client.store_source(source)
        study = client.submit(make_spec(workload="own", source=source.hash))
        assert client.source(study.id).hash == study.spec.source
    command = ["source", str(study.id), "--url", url]
    printed = CliRunner().invoke(app, command)
    assert (
        printed.stdout
        == "".join(f"# {name}\n{plain(text)}" for name, text in code["files"].items()) + "\n"
    )
    assert source.hash in printed.stderr
    assert CliRunner().invoke(app, [*command, "-o", str(tmp_path)]).exit_code == 0
    assert {file.name: file.read_text() for file in tmp_path.glob("*.py")} == code["files"]
    again = CliRunner().invoke(app, [*command, "-o", str(tmp_path)])
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    code["files"]["../other.py"] = "1"
    with pytest.raises(LocalServiceError, match="outside"):
        sources.write(Source(**code), tmp_path / "new")
