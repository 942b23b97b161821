"""Login sets a cookie that scripts and other sites cannot use, and that ends with its token."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from starlette.testclient import TestClient

from gradnoise_service.api.auth import COOKIE
from gradnoise_service.store import logins, tokens
from gradnoise_service.store.database import Database

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


def test_form_with_many_fields_is_refused(visitor: TestClient) -> None:
    fields = "&".join(f"f{i}=" for i in range(1001))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = visitor.post("/login", content=fields, headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (413, "/docs#too-large")


def test_logout_ends_the_login(visitor: TestClient) -> None:
    """The key in the cookie is not the token, and is worthless after the logout."""
    visitor.post("/login", data={"token": "secret"})
    cookie = {"Cookie": f"{COOKIE}={visitor.cookies[COOKIE]}"}
    assert "secret" not in cookie["Cookie"]
    for page in ("/", "/docs", "/catalogue", "/studies/7", "/?text=" + "a" * 201):
        assert "Log out" in visitor.get(page, headers=HTML).text, page
    assert visitor.post("/logout").headers["location"] == "/login"
    assert COOKIE not in visitor.cookies
    assert "Log out" not in visitor.get("/login").text
    assert "Log out" not in visitor.get("/docs").text
    assert visitor.get("/", headers=HTML).headers["location"] == "/login?next=/"
    assert visitor.get("/v1/studies", headers=cookie).status_code == 401


def test_login_ends_with_its_token(
    make_client: Callable[..., TestClient], database: Database, now: datetime
) -> None:
    """A token that is revoked or expires, or another admin token, ends every login with it."""
    first = make_client("secret", host="0.0.0.0", admin_token="secret")
    body = {"name": "laptop", "owner": "ada", "scopes": ["read"], "days": 1}
    token = first.post("/v1/tokens", json=body).json()["token"]
    keys = [first.post("/login", data={"token": t}).cookies[COOKIE] for t in (token, "secret")]
    second = make_client(host="0.0.0.0", admin_token="another")

    def statuses(client: TestClient) -> list[int]:
        client.cookies.clear()
        client.headers.pop("Authorization", None)
        cookies = [{"Cookie": f"{COOKIE}={key}"} for key in keys]
        return [client.get("/v1/studies", headers=cookie).status_code for cookie in cookies]

    assert statuses(second) == [200, 401]
    with database.session(write=True) as session:
        tokens.revoke(session, "laptop")
    assert statuses(second) == [401, 401]
    assert statuses(first) == [401, 200]


def test_login_expires(database: Database, now: datetime) -> None:
    with database.session(write=True) as session:
        key = logins.create(session, "token", now, now + timedelta(days=1))
        assert logins.token_digest(session, key, now) == tokens.digest("token")
        assert logins.token_digest(session, key, now + timedelta(days=1)) is None
        logins.create(session, "token", now + timedelta(days=2), now + timedelta(days=3))
        assert logins.token_digest(session, key, now) is None


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
