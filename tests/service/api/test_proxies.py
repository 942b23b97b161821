"""Behind a proxy, the client's address, scheme and Host are those that the proxy reports."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from gradnoise_service.api.proxies import BehindProxy
from gradnoise_service.settings import Settings

PROXY = [ip_network("10.0.0.0/8")]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    seen = {"client": scope["client"][0], "scheme": scope["scheme"], "url": str(request.url)}
    is_moved = scope["path"].endswith("/moved")
    answer = RedirectResponse("/login") if is_moved else JSONResponse(seen)
    await answer(scope, receive, send)


def client(peer: str, root_path: str = "") -> TestClient:
    proxied = BehindProxy(app, PROXY, root_path)
    return TestClient(proxied, client=(peer, 1), follow_redirects=False)


FORWARDED = {
    "X-Forwarded-For": "1.2.3.4, 203.0.113.9, 10.0.0.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "gradnoise.example.org",
}


def test_headers_of_a_named_proxy_are_believed() -> None:
    """The client wrote the first address itself; the last one is another proxy's."""
    assert client("10.0.0.8").get("/x", headers=FORWARDED).json() == {
        "client": "203.0.113.9",
        "scheme": "https",
        "url": "https://gradnoise.example.org/x",
    }


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "203.0.113.9"])
def test_headers_of_other_peers_are_ignored(peer: str) -> None:
    assert client(peer).get("/x", headers=FORWARDED).json() == {
        "client": peer,
        "scheme": "http",
        "url": "http://testserver/x",
    }


@pytest.mark.parametrize("listed", ["", "unknown", "10.0.0.7", "evil\x7f, _hidden"])
def test_proxy_without_a_client_is_the_client(listed: str) -> None:
    seen = client("10.0.0.8").get("/", headers={"X-Forwarded-For": listed}).json()
    assert seen["client"] in ("10.0.0.8", "10.0.0.7")


@pytest.mark.parametrize("path", ["/studies", "/gradnoise/studies"])
def test_proxy_may_remove_the_root_path_or_leave_it(path: str) -> None:
    behind = client("10.0.0.8", "/gradnoise")
    assert behind.get(path).json()["url"] == "http://testserver/gradnoise/studies"
    assert behind.get("/moved").headers["location"] == "/gradnoise/login"


@pytest.mark.parametrize("path", ["gradnoise", "/a/", "/a b", '/"', "//evil.example"])
def test_root_path_is_a_plain_path(path: str) -> None:
    with pytest.raises(ValidationError, match="root_path"):
        Settings(root_path=path)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_service_behind_a_proxy_requires_a_token_on_loopback(
    make_client: Callable[..., TestClient],
) -> None:
    assert make_client(proxies=["127.0.0.1"]).get("/v1/studies").status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rate_is_limited_by_the_address_that_the_proxy_reports(
    make_client: Callable[..., TestClient], database: Any
) -> None:
    make_client(proxies=["10.0.0.0/8"])
    from gradnoise_service.app import create_app

    settings = Settings(proxies=["10.0.0.0/8"], requests_per_minute=1)
    with TestClient(
        create_app(settings, database), base_url="http://127.0.0.1", client=("10.1.1.1", 1)
    ) as visitor:
        for address, status in (("1.1.1.1", 401), ("2.2.2.2", 401), ("1.1.1.1", 429)):
            sent = visitor.get("/v1/studies", headers={"X-Forwarded-For": address})
            assert sent.status_code == status
