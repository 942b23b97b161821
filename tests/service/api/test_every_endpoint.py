"""What holds for every endpoint: ids have a range, and refusals are documented problems."""

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from api_fixtures import Workshop
from gradnoise_service.api.parameters import MAX_ID
from gradnoise_service.app import create_app
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import open_database

Operations = list[tuple[str, str, dict[str, Any]]]
JSON = {"Content-Type": "application/json"}
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def operations() -> Operations:
    """Method, path and description of each documented operation."""
    database = open_database("sqlite://")
    paths = create_app(Settings(), database).openapi()["paths"]
    database.dispose()
    return [
        (method.upper(), path, operation)
        for path, item in paths.items()
        for method, operation in item.items()
    ]


def with_ids(path: str, number: int) -> str:
    return re.sub("{[a-z]+_id}", str(number), path).replace("{name}", "confirm")


@pytest.mark.parametrize("number", [MAX_ID, MAX_ID + 1, 2**63, 10**30])
def test_a_large_id_is_unknown_or_out_of_range(
    client: TestClient, workshop: Workshop, operations: Operations, number: int
) -> None:
    """PostgreSQL stores ids as 32-bit integers; no id reaches it that it cannot hold."""
    workshop.queued()
    expected = 404 if number <= MAX_ID else 422
    n = 0
    for method, path, operation in operations:
        if "_id}" in path:
            answer = client.request(method, with_ids(path, number), headers=JSON, content="{}")
            assert answer.status_code in (expected, 422), (method, path, answer.text)
            n += 1
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            kinds = {schema.get("type"), *(form["type"] for form in schema.get("anyOf", []))}
            if parameter["in"] == "query" and "integer" in kinds:
                url = f"{with_ids(path, 1)}?{parameter['name']}={number}"
                assert client.request(method, url).status_code in (200, 404, 409, 422), url
    assert n > 10
    for page in ("/?before={}", "/studies/{}", "/studies/{}/report", "/studies/1/trials/{}"):
        assert client.get(page.format(number)).status_code in (200, 404, 422)


@SQLITE
def test_a_body_that_is_no_json_is_malformed_at_every_endpoint(
    client: TestClient, workshop: Workshop, operations: Operations
) -> None:
    workshop.queued()
    n = 0
    for method, path, operation in operations:
        if "requestBody" not in operation:
            continue
        n += 1
        malformed = [b"{", b"[1", b"\xff", b"[" * 10_000, b'{"a": ' + b"9" * 5_000 + b"}"]
        if operation["requestBody"].get("required"):
            malformed.append(b"")
        for body in malformed:
            answer = client.request(method, with_ids(path, 1), content=body, headers=JSON)
            found = (answer.status_code, answer.json()["type"])
            assert found == (400, "/docs#malformed"), (method, path, body[:10], answer.text)
        for media_type in ("text/plain", "application/x-www-form-urlencoded", None):
            headers = {"Content-Type": media_type} if media_type else {}
            answer = client.request(method, with_ids(path, 1), content=b"{}", headers=headers)
            found = (answer.status_code, answer.json()["type"])
            assert found == (415, "/docs#media-type"), (method, path, media_type, answer.text)
    assert n > 3


@SQLITE
def test_allow_names_every_method_of_an_address(client: TestClient, operations: Operations) -> None:
    """The pages and static files included."""
    expected: dict[str, set[str]] = {}
    for method, path, _ in operations:
        methods = expected.setdefault(with_ids(path, 1), set())
        methods |= {"GET", "HEAD"} if method == "GET" else {method}
    pages = {"/": "GET, HEAD", "/login": "GET, HEAD, POST", "/static/style.css": "GET, HEAD"}
    expected |= {path: set(methods.split(", ")) for path, methods in pages.items()}
    for path, methods in expected.items():
        answer = client.request("PUT", path)
        assert answer.status_code == 405, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.headers["allow"].split(", ")) == methods, path
