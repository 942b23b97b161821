"""`gradnoise demo` from start to end."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from processes import with_environment


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_demo_writes_verdict_and_report_and_leaves_no_process(tmp_path: Path) -> None:
    """A taken port is replaced by a free port."""
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "gradnoise_service",
            "demo",
            "--preset",
            "demo-twice",
            "--home",
            home,
            "--port",
            port,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Using port" in done.stderr
    verdict = r"^verdict\t(helps|hurts|no_difference|undecided)\t"
    assert re.search(verdict, done.stdout, re.MULTILINE)
    report = (home / "reports" / "demo-twice.html").read_text(encoding="utf-8")
    assert report.lstrip().lower().startswith("<!doctype html")
    assert with_environment(f"GRADNOISE_HOME={home}") == {}
