"""Every error has its row; no answer tells of our inside."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from gradnoise_service.api.problem import OF_ERROR, OF_STATUS, documented, problem_of
from gradnoise_service.domain.errors import (
    FieldFault,
    InvalidSpecError,
    LeaseLostError,
    NameTakenError,
    StudyError,
)


def tree(error: type[Exception]) -> Iterator[type[Exception]]:
    for child in error.__subclasses__():
        yield child
        yield from tree(child)


def test_every_error_of_the_domain_has_a_row() -> None:
    assert [
        error.__name__
        for error in tree(StudyError)
        if error.__module__.startswith("gradnoise_service.") and error not in OF_ERROR
    ] == []


def test_every_problem_has_a_name_of_its_own_and_a_hint() -> None:
    kinds = [*OF_ERROR.values(), *OF_STATUS.values()]
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert all(kind.hint.endswith(".") and not kind.title.endswith(".") for kind in kinds)


def test_an_error_without_its_own_words_has_those_of_its_class() -> None:
    problem = problem_of(LeaseLostError())
    assert (problem.status, problem.detail) == (409, LeaseLostError.__doc__)


def test_facts_of_the_error_stand_in_the_problem() -> None:
    assert problem_of(NameTakenError("demo", "demo-2")).free_name == "demo-2"
    fault = FieldFault(field="seed", value=-1, message="-1 is too small", legal="at least 0")
    assert problem_of(InvalidSpecError([fault])).errors[0].model_dump() == vars(fault)


def test_an_error_of_ours_tells_nothing_of_our_inside() -> None:
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
def test_what_the_router_refuses_is_a_problem_too(
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
