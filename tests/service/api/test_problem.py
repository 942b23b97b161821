"""Errors become problems; unexpected errors reveal nothing."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gradnoise_service.api.problem import documented, problem_of
from gradnoise_service.app import create_app
from gradnoise_service.domain.errors import (
    FieldFault,
    InvalidSpecError,
    LeaseLostError,
    NameTakenError,
)
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import open_database


def test_error_without_a_message_has_that_of_its_class() -> None:
    problem = problem_of(LeaseLostError())
    assert (problem.status, problem.detail) == (409, LeaseLostError.message)


def test_problem_holds_the_facts_of_the_error() -> None:
    assert problem_of(NameTakenError("demo", "demo-2", 1)).free_name == "demo-2"
    fault = FieldFault(field="seed", value=-1, message="-1 is too small", legal="at least 0")
    assert problem_of(InvalidSpecError([fault])).errors[0].model_dump() == vars(fault)


def test_unexpected_error_reveals_nothing() -> None:
    problem = problem_of(RuntimeError("password is hunter2"))
    assert problem.status == 500
    assert "hunter2" not in problem.model_dump_json()


def test_only_known_statuses_are_documented() -> None:
    with pytest.raises(KeyError):
        documented(418)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nowhere", 404),
        ("PUT", "/v1/studies", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/v1/studies/x", 422),
        ("GET", "/v1/studies/1.0", 422),
        ("GET", "/v1/studies/1_0/trials/1", 422),
        ("POST", "/v1/studies/+1/pause", 422),
        ("GET", "/static/x", 404),
    ],
)
def test_refusals_of_the_router_are_problems(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"], answer.json()["status"]) == (
        status,
        "application/problem+json",
        status,
    )
    assert answer.json()["hint"]
    assert (status == 405) == ("allow" in answer.headers)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_unexpected_error_is_a_problem_with_security_headers(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, quiet: None
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("password is hunter2")

    monkeypatch.setattr("gradnoise_service.usecases.studies.page", fail)
    answer = client.get("/v1/studies")
    assert (answer.status_code, answer.json()["type"]) == (500, "/docs#internal")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "hunter2" not in answer.text
    assert "hunter2" not in client.get("/", headers={"Accept": "text/html"}).text


def test_fault_of_the_database_is_503_with_a_time_to_retry(tmp_path: Path) -> None:
    """The health check needs no database; streams and pages answer alike."""
    database = open_database("postgresql+psycopg://nobody@/nothing?host=/nonexistent")
    app = create_app(Settings(home=tmp_path), database)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        for path in ("/v1/studies", "/v1/studies/1/events", "/v1/workloads", "/"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert answer.json()["type"] == "/docs#database-unavailable"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "nonexistent" not in answer.text
    database.dispose()
