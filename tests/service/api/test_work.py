"""The work of a request is bounded, whatever its body: cheap checks come first, and few faults."""

import json
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JSON, YAML = "application/json", "application/yaml"
MAX_SECONDS = 0.5
"""CPU seconds of the worst body within the limit of its size."""


def looks(n_seeds: int, *at: int) -> dict[str, object]:
    return {"confirm": {"n_seeds": n_seeds, "looks": list(at)}}


def unknown(n: int) -> dict[str, int]:
    return {f"nam{i}e": 1 for i in range(n)}


ARM: dict[str, object] = {"name": "a", "technique": "none"}
WORST: dict[str, dict[str, object]] = {
    "ten looks": looks(9_000, 9, 99, 500, 1000, 2000, 3000, 4000, 5000, 6000, 8000),
    "ten dense looks": looks(9_000, *range(8_989, 8_999)),
    "an early look and dense ones": looks(9_000, 9, *range(8_990, 8_999)),
    "looks of a million seeds": looks(1_000_000, *range(999_980, 999_990)),
    "looks with a power": {
        "confirm": {"power": {"power": 0.9, "sd": 0.5}, "looks": [9, 99, 500, 1000, 1500]}
    },
    "empty parameters": {"space": {f"p{i}": [] for i in range(70_000)}},
    "parameters without a form": {"space": {f"p{i}": {} for i in range(999)}},
    "parameters without a high": {"space": {f"p{i}": {"low": 1} for i in range(999)}},
    "near misses of fields": unknown(999),
    "near misses in arms": {"arms": [{**ARM, **unknown(990)} for _ in range(9)]},
    "a long field": {"nam" * 300_000: 1},
    "unknown options": {"options": unknown(999), "arms": [{**ARM, "options": unknown(990)}] * 9},
    "many arms": {"arms": [ARM] * 20_000},
    "many choices": {"space": {f"p{i}": {"choices": list(range(900))} for i in range(10)}},
    "nested lists": {"options": {"depth": [[[[[0] * 9] * 9] * 9] * 9]}},
    "empty lists": {"options": {"depth": [[]] * 300_000}},
    "NULs": {"options": {"depth": ["\0"] * 90_000}},
    "a grid of a billion points": {
        "search": None,
        "confirm": {"n_seeds": 2, "epochs": 1},
        "arms": [ARM, {**ARM, "name": "b"}],
        "space": {"lr": {"low": 1e-9, "high": 1, "step": 1e-9}},
    },
    "a grid of many parameters": {
        "search": {"n_trials": 9, "epochs": 1, "sampler": "grid"},
        "space": {f"p{i}": {"low": 0, "high": 1, "step": 1e-6} for i in range(50)},
    },
}


def seconds(client: TestClient, body: bytes, media_type: str) -> float:
    """Return the CPU time of a submission, which is answered with a documented status."""
    started = time.process_time()
    answer = client.post("/v1/studies", content=body, headers={"Content-Type": media_type})
    found = time.process_time() - started
    assert answer.status_code in (201, 400, 413, 422), answer.text
    return found


@pytest.fixture
def warm(client: TestClient, plain_spec: dict[str, Any]) -> TestClient:
    """A client of an app that has imported what submissions need."""
    study = plain_spec | looks(24, 12) | {"name": "warm"}
    assert client.post("/v1/studies", json=study).status_code == 201
    return client


@pytest.mark.parametrize("name", WORST)
def test_the_worst_json_is_answered_in_half_a_second(
    warm: TestClient, plain_spec: dict[str, Any], name: str
) -> None:
    body = json.dumps(plain_spec | WORST[name]).encode()[:1_000_000]
    assert seconds(warm, body, JSON) <= MAX_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "a," * 48_000 + "]",
        "options:\n" + "".join(f"  a{i}: 1\n" for i in range(9_000)),
        "a: {" + ",".join(f"b{i}: c" for i in range(9_000)) + "}",
        "? " * 49_000,
        "[" * 99_000,
        'a: ["\\ud83d\\ude00",' + "a," * 2_400 + "]",
        'a: "' + "\\x41" * 24_000 + '"',
        "# x\n" * 24_000,
    ],
    ids=lambda text: text[:12],
)
def test_the_worst_yaml_is_answered_in_half_a_second(warm: TestClient, text: str) -> None:
    assert seconds(warm, text.encode(), YAML) <= MAX_SECONDS
