"""Errors become problems; unexpected errors reveal nothing."""

import pytest
from starlette.testclient import TestClient

from gradnoise_service.api.problem import documented, problem_of
from gradnoise_service.domain.errors import (
    FieldFault,
    InvalidSpecError,
    LeaseLostError,
    NameTakenError,
)


def test_error_without_a_message_has_that_of_its_class() -> None:
    problem = problem_of(LeaseLostError())
    assert (problem.status, problem.detail) == (409, LeaseLostError.message)


def test_problem_holds_the_facts_of_the_error() -> None:
    assert problem_of(NameTakenError("demo", "demo-2")).free_name == "demo-2"
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
