"""Errors are pages for browsers and problems for programs."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

HTML = {"Accept": "text/html"}

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/studies/7", 404), ("/nowhere", 404), ("/studies/x", 422), ("/studies/0", 422)],
)
def test_browser_gets_a_page(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path, headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "text/html; charset=utf-8",
    )
    assert f'<p class="muted">{status}</p>' in answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/studies/7", HTML), ("/studies/7", {}), ("/studies/7", {"Accept": "application/json"})],
)
def test_program_gets_a_problem(client: TestClient, path: str, headers: dict[str, str]) -> None:
    assert client.get(path, headers=headers).headers["content-type"] == "application/problem+json"


def test_unknown_host_gets_a_page_with_a_hint(client: TestClient) -> None:
    answer = client.get("/", headers=HTML | {"Host": "evil.example"})
    assert (answer.status_code, "GRADNOISE_ALLOWED_HOSTS" in answer.text) == (421, True)


def test_too_many_requests_have_a_retry_time(make_client: Callable[..., TestClient]) -> None:
    client = make_client(requests_per_minute=1)
    answers = [client.get("/", headers=HTML) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert int(answers[1].headers["retry-after"]) > 0


def test_form_without_login_is_refused_without_redirect(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(host="0.0.0.0", admin_token="secret")
    assert client.post("/studies/1/cancel", headers=HTML).status_code == 401
