"""The configurations of nginx and Caddy in docs/cluster.md serve API, pages and dashboard."""

import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gradnoise_service.client import Client
from gradnoise_service.local import ports
from live_api import LiveApi

CLUSTER = Path(__file__).parents[2] / "docs" / "cluster.md"
NAME = "lab.example.org"


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", CLUSTER.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of the documented name, and its key."""
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={NAME} "
        f"-addext subjectAltName=DNS:{NAME},IP:127.0.0.1 -out {files[0]} -keyout {files[1]}",
        shell=True,
        check=True,
        capture_output=True,
    )
    return files


def nginx(folder: Path, text: str, certificate: tuple[Path, Path]) -> list[str]:
    """Write the configuration and return the command that runs it."""
    text = re.sub(r"ssl_certificate \S+;", f"ssl_certificate {certificate[0]};", text)
    text = re.sub(r"ssl_certificate_key \S+;", f"ssl_certificate_key {certificate[1]};", text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off; {temporary} {text} }}",
        encoding="utf-8",
    )
    return ["nginx", "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, text: str, certificate: tuple[Path, Path]) -> list[str]:
    """Write the configuration and return the command that runs it."""
    tls = f"tls {certificate[0]} {certificate[1]}"
    text = re.sub(r"(?m)^(\S.* \{)$", rf"\1\n{tls}", text)
    options = f"{{\nadmin off\nauto_https disable_redirects\ndefault_sni {NAME}\n}}\n"
    (folder / "Caddyfile").write_text(options + text, encoding="utf-8")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@contextmanager
def proxied(
    write: Callable[..., list[str]], folder: Path, api: LiveApi, certificate: tuple[Path, Path]
) -> Iterator[tuple[httpx2.Client, int]]:
    """Run a documented proxy before the API; yield a client of the proxy, and its port."""
    if shutil.which(write.__name__) is None:
        pytest.skip(f"needs {write.__name__} (Debian: apt-get install {write.__name__})")
    port, other = ports.free("127.0.0.1"), ports.free("127.0.0.1")
    text = example(write.__name__).replace("127.0.0.1:8000", f"127.0.0.1:{api.settings.port}")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}").replace("8443", str(other))
    text = text.replace(f"{NAME} {{", f"{NAME}:{port} {{") if write is caddy else text
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            write(folder, text, certificate),
            stdout=out,
            stderr=out,
            env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/bin"},
        )
    context = ssl.create_default_context(cafile=certificate[0])
    deadline = time.monotonic() + 30
    try:
        with httpx2.Client(
            base_url=f"https://127.0.0.1:{port}",
            verify=context,
            headers={"Host": f"{NAME}:{port}"},
            timeout=30,
            trust_env=False,
        ) as client:
            while True:
                try:
                    client.get("/gradnoise/healthz")
                    break
                except httpx2.ConnectError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield client, port
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("write", [nginx, caddy])
def test_documented_proxy_serves_everything(
    write: Callable[..., list[str]],
    tmp_path: Path,
    serve: Any,
    worker: Any,
    make_spec: Any,
    certificate: tuple[Path, Path],
) -> None:
    """Pages, forms, redirects, events and the client's address are as without the proxy."""
    api = serve(
        admin_token="secret",
        root_path="/gradnoise",
        proxies=["127.0.0.1"],
        allowed_hosts=[NAME],
    )
    with Client(f"{api.url}/gradnoise", "secret") as direct:
        study_id = direct.submit(make_spec()).id
        assert [study.id for study in direct.studies()] == [study_id]
    with proxied(write, tmp_path, api, certificate) as (client, port):
        html = {"Accept": "text/html", "Origin": f"https://{NAME}:{port}"}
        sent = client.get("/gradnoise/", headers=html)
        assert sent.headers["location"] == "/gradnoise/login?next=/"
        form = {"token": "secret", "next": f"/studies/{study_id}"}
        entered = client.post("/gradnoise/login", data=form, headers=html)
        assert entered.headers["location"] == f"/gradnoise/studies/{study_id}"
        assert "; Secure" in entered.headers["set-cookie"]
        cookie = {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
        page = client.get(entered.headers["location"], headers=html | cookie)
        assert page.status_code == 200
        for path in re.findall(r'(?:href|src)="(/[^"]*)"', page.text):
            assert client.get(path, headers=cookie).status_code == 200, path
        cancelled = client.post(f"/gradnoise/studies/{study_id}/cancel", headers=html | cookie)
        assert cancelled.status_code == 303
        events = client.get(f"/gradnoise/v1/studies/{study_id}/events", headers=cookie)
        assert "event: end" in events.text
        refused = client.post(
            "/gradnoise/login", data=form, headers={"Origin": "https://evil.example"}
        )
        assert refused.status_code == 403
