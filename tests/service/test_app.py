"""The API process starts light, refuses to run unprotected, and stops at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from gradnoise_service.app import create_app
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.local import ports
from gradnoise_service.settings import Settings
from gradnoise_service.store import catalogues, studies
from gradnoise_service.store.database import Database, open_database

HEAVY = ("torch", "ray", "optuna", "gradnoise", "scipy", "matplotlib", "gradnoise_workers")
METHODS = ("get", "post", "patch", "delete")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADNOISE_")}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_app_and_openapi_load_no_heavy_package(tmp_path: Path) -> None:
    """Neither the library nor packages for training, search, comparison or drawing are loaded."""
    program = f"""
import sys
from gradnoise_service.app import create_app, main
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import open_database
create_app(Settings(), open_database(Settings().database)).openapi()
print(*sorted(set(sys.modules) & set({HEAVY})))
"""
    done = run("-c", program, GRADNOISE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_public_address_without_tokens_is_refused(tmp_path: Path) -> None:
    done = run(
        "-m", "gradnoise_service.app", GRADNOISE_HOME=str(tmp_path), GRADNOISE_HOST="0.0.0.0"
    )
    assert done.returncode == 1
    assert "GRADNOISE_ADMIN_TOKEN" in done.stderr


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    """The API as a process, on a database that does not exist yet, and a client of it."""
    port = ports.free("127.0.0.1")
    environment = os.environ | {
        "GRADNOISE_HOME": str(tmp_path),
        "GRADNOISE_PORT": str(port),
        "GRADNOISE_LOG_FORMAT": "json",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gradnoise_service.app"], env=environment, stdout=log, stderr=log
        )
    transport = httpx2.HTTPTransport(retries=8)
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=30
    ) as client:
        yield process, client
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_process_creates_its_database_and_stops_at_once_despite_open_streams(
    process: tuple[subprocess.Popen[bytes], httpx2.Client], number: signal.Signals, tmp_path: Path
) -> None:
    api, client = process
    checks = client.get("/readyz").json()["checks"]
    assert [(check["name"], check["ok"]) for check in checks] == [
        ("database", True),
        ("schema", True),
        ("catalogue", False),
    ]
    spec = client.get("/v1/presets/demo").json()["studies"][0]
    assert client.post("/v1/studies", json=spec).status_code == 503
    store_study(tmp_path, spec)
    with client.stream("GET", "/v1/studies/1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: progress"
        api.send_signal(number)
        assert "event: end" not in list(lines)
    assert api.wait(timeout=60) == 0
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert '"path": "/v1/studies"' in log
    assert "graceful shutdown exceeded" not in log


def store_study(home: Path, spec: Mapping[str, Any]) -> None:
    database = open_database(f"sqlite:///{home / 'gradnoise.db'}")
    metric = Metric(name="accuracy", direction="maximize", worst=0.0)
    with database.session(write=True) as session:
        studies.submit(
            session, StudySpec.model_validate(spec), metric, owner="local", now=datetime.now(UTC)
        )
    database.dispose()


@pytest.fixture
def app(
    live_database: Database, catalogue_document: Mapping[str, Any], now: datetime, tmp_path: Path
) -> FastAPI:
    with live_database.session(write=True) as session:
        catalogues.publish(session, catalogue_document, now)
    return create_app(
        Settings(home=tmp_path, requests_per_minute=1_000_000, admin_token=SecretStr("secret")),
        live_database,
    )


def test_every_operation_is_documented(app: FastAPI) -> None:
    """It has a tag, a summary, a description, described parameters and its problems."""
    for path, item in app.openapi()["paths"].items():
        for method, operation in item.items():
            assert method in METHODS
            assert operation["tags"]
            assert operation["summary"]
            assert operation["description"]
            assert all(parameter["description"] for parameter in operation.get("parameters", []))
            if path.startswith("/v1/"):
                assert {"401", "403", "421", "429", "500"} <= set(operation["responses"])
                assert ("404" in operation["responses"]) or "{" not in path
                problems = [
                    r["content"]
                    for status, r in operation["responses"].items()
                    if int(status) >= 400
                ]
                assert all(list(content) == ["application/problem+json"] for content in problems)


def test_every_reference_in_the_openapi_document_resolves(app: FastAPI) -> None:
    document = app.openapi()

    def references(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for inner in node.values():
                yield from references(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from references(inner)

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
