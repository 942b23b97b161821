"""Login stores the token in a cookie that scripts and other sites cannot use."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


HTML = {"Accept": "text/html"}


@pytest.fixture
def visitor(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(host="0.0.0.0", admin_token="secret")


def test_page_redirects_to_the_login_and_back(visitor: TestClient) -> None:
    sent = visitor.get("/studies/3", headers=HTML)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/studies/3")
    form = visitor.get(sent.headers["location"])
    assert 'name="next" value="/studies/3"' in form.text
    entered = visitor.post("/login", data={"token": " secret ", "next": "/studies/3"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/studies/3")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert visitor.get("/", headers=HTML).status_code == 200
    assert visitor.get("/v1/tokens").status_code == 200


def test_logout_deletes_the_cookie(visitor: TestClient) -> None:
    visitor.post("/login", data={"token": "secret"})
    assert "Log out" in visitor.get("/", headers=HTML).text
    assert visitor.post("/logout").headers["location"] == "/login"
    assert visitor.get("/", headers=HTML).headers["location"] == "/login?next=/"


def test_wrong_token_shows_the_form_again(visitor: TestClient) -> None:
    refused = visitor.post("/login", data={"token": "guess", "next": "/studies/3"})
    assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
    assert "unknown or has expired" in refused.text
    assert "guess" not in refused.text


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "",
    ],
)
def test_login_redirects_to_no_other_site(visitor: TestClient, path: str) -> None:
    assert visitor.post("/login", data={"token": "secret", "next": path}).headers["location"] == "/"


def test_cookie_is_secure_over_https(visitor: TestClient) -> None:
    assert (
        "; Secure"
        in visitor.post("https://127.0.0.1:8000/login", data={"token": "secret"}).headers[
            "set-cookie"
        ]
    )


def test_guessed_tokens_are_rate_limited(make_client: Callable[..., TestClient]) -> None:
    visitor = make_client(host="0.0.0.0", admin_token="secret", requests_per_minute=2)
    assert [visitor.post("/login", data={"token": "guess"}).status_code for _ in range(3)] == [
        401,
        401,
        429,
    ]


def test_login_requires_a_form(visitor: TestClient) -> None:
    assert visitor.post("/login", json={"token": "secret"}).status_code == 415


def test_loopback_has_no_login(client: TestClient) -> None:
    assert client.get("/login").headers["location"] == "/"
    assert "Log out" not in client.get("/").text
