"""Malformed bodies are refused with the position of the fault, at little cost."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JSON, YAML = {"Content-Type": "application/json"}, {"Content-Type": "application/yaml"}
BOMB = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]"


@pytest.mark.parametrize(
    ("content", "headers", "detail"),
    [
        ("name: [unclosed", YAML, "expected ',' or ']'"),
        ("name: x\n  bad: indent", YAML, "line 2, column"),
        (BOMB, YAML, "alias"),
        ("!!python/object/apply:os.system [id]", YAML, "line 1, column"),
        ("name: a\nname: b", YAML, "duplicate key"),
        ("[" * 50, YAML, "nested deeper"),
        ("- a list", YAML, "a list"),
        ("", YAML, "empty"),
        ("{", JSON, "line 1, column 2"),
        ("", JSON, "line 1, column 1"),
        ('{"a": 1}\n}', JSON, "line 2, column 1"),
        ("[]", JSON, "a list"),
        ("[" * 100_000, JSON, "nested deeper"),
        ('{"seed": 1, "seed": 2}', JSON, "duplicate key"),
        ('{"seed": ' + "9" * 5000 + "}", JSON, "digits"),
        (b"\xff\xfe", JSON, "UTF-8"),
        ('{"seed": NaN}', JSON, "finite"),
        ("options: {depth: .inf}", YAML, "line 1, column 18"),
        ("options: {dataset: !!binary aGk=}", YAML, "not allowed"),
    ],
)
def test_malformed_body_is_400_with_the_position(
    client: TestClient, content: Any, headers: dict[str, str], detail: str
) -> None:
    answer = client.post("/v1/studies", content=content, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "/docs#malformed")
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ('{"dataset": "\\ud800"}', "options.dataset"),
        ('{"dataset": ["a", "b\\u0000"]}', "options.dataset.1"),
        ('{"data\\u0000set": 1}', "options.'data\\x00set'"),
        ('{"dataset": ' + "[" * 30 + "]" * 30 + "}", "options.dataset" + ".0" * 19),
    ],
)
def test_value_that_the_database_cannot_hold_is_refused(
    client: TestClient, options: str, field: str
) -> None:
    answer = client.post("/v1/studies", content=f'{{"options": {options}}}', headers=JSON)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
    ],
)
def test_other_media_type_is_not_read(
    client: TestClient, plain_spec: dict[str, Any], content_type: str | None
) -> None:
    """A page of another site can send these without a preflight request."""
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/v1/studies", content=json.dumps(plain_spec), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "/docs#media-type")


def test_body_above_the_limit_is_413_with_or_without_content_length(
    make_client: Callable[..., TestClient], announced: None
) -> None:
    client = make_client(max_body_bytes=1_000)
    with_length = client.post("/v1/studies", content=b" " * 1_001, headers=JSON)
    chunked = client.post("/v1/studies", content=(b" " * 300 for _ in range(4)), headers=JSON)
    for answer in (with_length, chunked):
        assert (answer.status_code, answer.json()["type"]) == (413, "/docs#too-large")
        assert "1000 bytes" in answer.json()["detail"]
    assert client.post("/v1/studies", content=b" " * 1_000, headers=JSON).status_code == 400


def test_yaml_has_a_lower_limit(client: TestClient) -> None:
    assert client.post("/v1/studies", content="# " + "x" * 100_000, headers=YAML).status_code == 413


def test_list_of_faults_is_limited(client: TestClient, plain_spec: dict[str, Any]) -> None:
    answer = client.post(
        "/v1/studies", json=plain_spec | {f"extra{i}": "x" * 1_000 for i in range(300)}
    )
    assert len(answer.json()["errors"]) == 50
    assert answer.json()["detail"].startswith("More than 50 faults")
    assert len(answer.content) < 50_000
