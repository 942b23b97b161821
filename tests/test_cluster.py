"""The cluster's files: nothing is open, nothing boots without secrets, each database role can do
its work and no more.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
CLUSTER: dict[str, Any] = yaml.safe_load(COMPOSE)
OUTSIDE = {"api", "dashboard"}


def test_only_api_and_dashboard_are_published_and_only_on_loopback() -> None:
    """No other service has a port or is on a network that leads outside."""
    published = {
        name: service["ports"]
        for name, service in CLUSTER["services"].items()
        if "ports" in service
    }
    assert published.keys() == OUTSIDE
    assert all(
        re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
        for ports in published.values()
        for port in ports
    )
    open_networks = {
        name for name, network in CLUSTER["networks"].items() if not (network or {}).get("internal")
    }
    assert {
        name
        for name, service in CLUSTER["services"].items()
        if open_networks & set(service["networks"])
    } == OUTSIDE


def test_ray_and_the_database_share_only_the_dispatcher() -> None:
    """Whoever takes over a Ray node reaches no database port, and the API reaches no Ray port."""
    members = {
        network: {
            name for name, service in CLUSTER["services"].items() if network in service["networks"]
        }
        for network in ("ray", "data")
    }
    assert members["ray"] & members["data"] == {"workers"}
    assert not any(
        "DATABASE" in variable
        for name in ("ray-head", "ray-worker")
        for variable in CLUSTER["services"][name]["environment"]
    )


def test_every_node_reaches_the_checkpoints_where_the_dispatcher_names_them() -> None:
    """A volume in place of the read-only file system, made in the image for the user that writes
    it.
    """
    folder = CLUSTER["services"]["workers"]["environment"]["GRADNOISE_CHECKPOINTS"]
    assert all(
        f"checkpoints:{folder}" in CLUSTER["services"][name]["volumes"]
        for name in ("workers", "ray-head", "ray-worker")
    )
    assert f"install --directory --owner=gradnoise {folder}\n" in (ROOT / "Dockerfile").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("name", CLUSTER["services"])
def test_containers_have_no_rights_to_spare(name: str) -> None:
    """Every container drops all capabilities and can gain none; our own have a read-only file
    system.
    """
    service = CLUSTER["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service.get("read_only") or service["image"].startswith("postgres:")


def test_every_secret_is_required_and_listed_without_a_value() -> None:
    """A secret's first use refuses an empty value, and .env.example names each of them, so that
    `make secrets` makes one.
    """
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert required == set(
        re.findall(r"^(\w+)=$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    secret = {
        name for name in re.findall(r"\$\{(\w+)", COMPOSE) if re.search(r"PASSWORD|TOKEN", name)
    }
    assert secret == required


def test_secrets_are_made_once_and_differ(tmp_path: Path) -> None:
    """`make secrets` gives each a random value, only its owner may read them, and a second call
    leaves them as they are.
    """
    for name in ("Makefile", ".env.example"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    first = subprocess.run(
        ["make", "secrets"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert first.returncode == 0, first.stderr
    written = (tmp_path / ".env").read_text(encoding="utf-8")
    values = re.findall(r"^\w+=([0-9a-f]{64})$", written, re.MULTILINE)
    assert len(values) == len(set(values)) == len(re.findall(r"^\w+=", written, re.MULTILINE))
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    second = subprocess.run(
        ["make", "secrets"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert second.returncode != 0
    assert (tmp_path / ".env").read_text(encoding="utf-8") == written


@pytest.mark.postgres
def test_database_roles_do_their_work_and_no_more(
    postgres_server: Any, postgres_template: str
) -> None:
    """Workers write studies and see no token; the dashboard reads and writes nothing; making the
    roles twice is no error.
    """
    name = postgres_server.create(postgres_template)
    environment = os.environ | {"WORKERS_PASSWORD": "w", "DASHBOARD_PASSWORD": "d"}
    for _ in range(2):
        command = [
            postgres_server.binaries / "psql",
            f"--host={postgres_server.folder}",
            "--username=postgres",
            "--no-psqlrc",
        ]
        arguments = [
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            f"--file={ROOT / 'docker/roles.sql'}",
            name,
        ]
        subprocess.run([*command, *arguments], env=environment, check=True, capture_output=True)

    def attempt(role: str, statement: str) -> str:
        with psycopg.connect(
            host=str(postgres_server.folder), user=role, dbname=name
        ) as connection:
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege as error:
                return str(error)
        return "done"

    assert attempt("gradnoise_workers", "UPDATE gradnoise_study SET priority = 1") == "done"
    assert attempt("gradnoise_workers", "INSERT INTO studies (study_name) VALUES ('x')") == "done"
    assert (
        attempt("gradnoise_workers", "SELECT * FROM gradnoise_token")
        == "permission denied for table gradnoise_token"
    )
    assert (
        attempt("gradnoise_workers", "DROP TABLE gradnoise_study")
        == "must be owner of table gradnoise_study"
    )
    assert attempt("gradnoise_dashboard", "SELECT * FROM studies") == "done"
    assert (
        attempt("gradnoise_dashboard", "DELETE FROM studies")
        == "permission denied for table studies"
    )
    postgres_server.drop(name)
