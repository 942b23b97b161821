"""The guard refuses unknown hosts and other sites, and sets security headers."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000",
        "localhost",
        "LOCALHOST:8000",
        "[::1]:8000",
        "10.0.0.3:8000",
        "gradnoise.example",
    ],
)
def test_known_names_and_any_ip_address_are_accepted(
    make_client: Callable[..., TestClient], host: str
) -> None:
    client = make_client(allowed_hosts=["Gradnoise.example"])
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:8000",
        "127.0.0.1.evil.example",
        "",
        "localhost@evil.example",
    ],
)
def test_unknown_name_is_refused(client: TestClient, host: str) -> None:
    """A page whose name was rebound to 127.0.0.1 still sends that name."""
    answer = client.get("/v1/studies", headers={"Host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")
    assert "GRADNOISE_ALLOWED_HOSTS" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": "http://127.0.0.1:8000"}, False),
        ({"Origin": "http://127.0.0.1:9999"}, True),
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "null"}, True),
    ],
)
@pytest.mark.parametrize("path", ["/v1/studies/1/cancel", "/studies/1/cancel", "/logout"])
def test_unsafe_request_of_another_site_is_refused(
    client: TestClient, path: str, headers: dict[str, str], is_refused: bool
) -> None:
    assert (client.post(path, headers=headers).status_code == 403) == is_refused


def test_head_is_answered_like_get(client: TestClient) -> None:
    for path in ("/", "/v1/studies", "/healthz"):
        assert client.head(path).headers["content-type"] == client.get(path).headers["content-type"]
    assert client.head("/v1/studies/7").status_code == 404


def test_link_from_another_site_can_be_followed(client: TestClient) -> None:
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/studies", "/v1/nowhere", "/docs", "/static/style.css"])
def test_every_response_has_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
