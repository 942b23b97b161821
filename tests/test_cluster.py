"""The cluster's files: minimal access, required secrets, minimal rights of the database roles."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from gradnoise_service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
CLUSTER: dict[str, Any] = yaml.safe_load(COMPOSE)
GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PUBLISHED = {"api", "dashboard"}
KUBERNETES = (ROOT / "docker/kuberay.yaml").read_text(encoding="utf-8")
RAY_UP = ROOT / "docker/ray-cluster.yaml"
SLURM = ROOT / "docker/slurm.sh"


def test_only_api_and_dashboard_are_published_on_loopback() -> None:
    """No other service has a port or is on an external network."""
    published = {
        name: service["ports"]
        for name, service in CLUSTER["services"].items()
        if "ports" in service
    }
    assert published.keys() == PUBLISHED
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
    } == PUBLISHED


def test_only_the_dispatcher_is_on_the_networks_of_ray_and_database() -> None:
    """A Ray node cannot reach the database, and the API cannot reach Ray."""
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


def test_every_node_mounts_the_folders_of_checkpoints_and_files() -> None:
    """The image creates them for its user, because the file system is read-only. The API reads the
    files.
    """
    services = CLUSTER["services"]
    environment = services["workers"]["environment"]
    checkpoints, files = environment["GRADNOISE_CHECKPOINTS"], environment["GRADNOISE_ARTIFACTS"]
    assert all(
        {f"checkpoints:{checkpoints}", f"artifacts:{files}"} <= set(services[name]["volumes"])
        for name in ("workers", "ray-head", "ray-worker")
    )
    assert f"install --directory --owner=gradnoise {files} {checkpoints}\n" in DOCKERFILE
    assert services["api"]["environment"]["GRADNOISE_ARTIFACTS"] == files
    assert services["api"]["volumes"] == [f"artifacts:{files}:ro"]


def test_only_the_image_for_gpus_has_a_compiler() -> None:
    """Triton needs gcc and the headers of libc at its first launch."""
    stages = dict(re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE))
    assert stages == {"python:3.11-slim": "cpu", "cpu": "gpu", "${DEVICE}": ""}
    assert re.search(r"^ARG DEVICE=cpu$", DOCKERFILE, re.MULTILINE)
    installation = r"apt-get install --yes --no-install-recommends ([^\\\n]+)"
    (installed,) = re.findall(installation, DOCKERFILE)
    assert DOCKERFILE.index(installed) < DOCKERFILE.index("FROM ${DEVICE}")
    assert installed.split() == ["gcc", "libc6-dev"]
    (builder,) = (name for name, each in CLUSTER["services"].items() if "build" in each)
    assert GPU["services"][builder]["build"] == {"args": {"DEVICE": "gpu"}}


def test_compiled_kernels_are_on_a_file_system_from_which_code_is_loaded() -> None:
    """Docker mounts a tmpfs with noexec otherwise, and the containers are read-only."""
    worker = GPU["services"]["ray-worker"]
    (mount,) = worker["tmpfs"]
    path, options = mount.split(":")
    assert worker["environment"] == {"TRITON_CACHE_DIR": path}
    (uid,) = re.findall(r"useradd --uid (\d+)", DOCKERFILE)
    assert set(options.split(",")) == {"exec", f"uid={uid}"}


def test_a_machine_offers_each_gpu_once() -> None:
    """Every GPU is in the one container of a fixed name, which compose refuses to scale."""
    with_gpus = {name for name, each in GPU["services"].items() if "deploy" in each}
    assert with_gpus == {"ray-worker"}
    assert "container_name" in GPU["services"]["ray-worker"]


@pytest.mark.parametrize("name", CLUSTER["services"])
def test_container_has_minimal_rights(name: str) -> None:
    """It drops all capabilities and cannot gain any; our file systems are read-only."""
    service = CLUSTER["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service.get("read_only") or service["image"].startswith("postgres:")


def test_every_secret_is_required_and_listed() -> None:
    """.env.example lists each secret without a value, for `make secrets`."""
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert required == set(
        re.findall(r"^(\w+)=$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    secret = {
        name for name in re.findall(r"\$\{(\w+)", COMPOSE) if re.search(r"PASSWORD|TOKEN", name)
    }
    assert secret == required


def test_secrets_are_created_once_and_differ(tmp_path: Path) -> None:
    """Only the owner can read the file, and a second call does not change it."""
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


def test_a_node_on_kubernetes_knows_neither_the_database_nor_a_token_of_the_api() -> None:
    """The pods of Ray get their token from the operator; the dispatcher takes the same."""
    pods = kubernetes_pods()
    secret_keys = {
        name: {
            each["valueFrom"]["secretKeyRef"]["key"]
            for each in container["env"]
            if "valueFrom" in each
        }
        for name, (_, container) in pods.items()
    }
    assert secret_keys == {
        "migrate": {"database-url"},
        "api": {"database-url", "admin-token"},
        "dashboard": {"dashboard-database-url", "admin-token"},
        "workers": {"workers-database-url", "auth_token"},
        "ray-head": set(),
        "ray-worker": set(),
    }
    documented = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    assert all(f"--from-literal={key}=" in documented for key in set().union(*secret_keys.values()))
    for spec, container in pods.values():
        assert spec["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in spec.get("volumes", ())}


def test_every_node_on_kubernetes_sees_the_folders_that_the_dispatcher_names() -> None:
    pods = kubernetes_pods()
    environment = {each["name"]: each.get("value", "") for each in pods["workers"][1]["env"]}
    for name in ("workers", "ray-head", "ray-worker"):
        folders = {mount["mountPath"] for mount in pods[name][1]["volumeMounts"]}
        for setting in ("CHECKPOINTS", "ARTIFACTS", "DATA"):
            assert any(environment[f"GRADNOISE_{setting}"].startswith(each) for each in folders)


@pytest.mark.parametrize("text", [COMPOSE, KUBERNETES, SLURM.read_text(encoding="utf-8")])
def test_files_of_clusters_name_settings_and_processes_that_exist(text: str) -> None:
    known = {f"GRADNOISE_{name.upper()}" for name in Settings.model_fields}
    of_compose = {"GRADNOISE_CPUS", "GRADNOISE_DATA", "GRADNOISE_WORKER_IMAGE"}
    assert set(re.findall(r"GRADNOISE_[A-Z_]+", text)) <= known | of_compose
    for module in re.findall(r"-m,? (gradnoise_\w+(?:\.\w+)*)", text):
        assert importlib.util.find_spec(module) is not None


def test_ray_accepts_the_file_of_ray_up() -> None:
    config = prepare_config(yaml.safe_load(RAY_UP.read_text(encoding="utf-8")))
    validate_config(config)
    assert config["provider"]["type"] == "local"


def test_the_script_for_slurm_is_legal_bash() -> None:
    subprocess.run(["bash", "-n", SLURM], check=True)
    assert os.access(SLURM, os.X_OK)


def kubernetes_pods() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the pods of the manifest by the name of their container, with this container."""
    found = []
    for item in yaml.safe_load(KUBERNETES)["items"]:
        spec = item.get("spec", {})
        groups = [spec, spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", ())]
        found += [group["template"]["spec"] for group in groups if "template" in group]
    return {spec["containers"][0]["name"]: (spec, spec["containers"][0]) for spec in found}


@pytest.mark.postgres
def test_database_roles_have_minimal_rights(postgres_server: Any, postgres_template: str) -> None:
    """Workers write studies and cannot read tokens; the dashboard only reads."""
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
