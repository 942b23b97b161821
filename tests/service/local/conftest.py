"""Fixtures: a home folder with a database and small modules to supervise, and settings for it."""

import os
import shutil
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradnoise_service.local import ports
from gradnoise_service.settings import Settings

MODULES = {
    "obedient": """
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        print("obedient", os.getpid(), os.environ["GRADNOISE_PORT"])
        signal.sigwait([signal.SIGTERM])  # unlike pause, it also ends if the signal came before
        print("obedient stops")
    """,
    "stubborn": """
        import os, signal, subprocess, sys
        signal.signal(signal.SIGTERM, lambda *_: print("stubborn stays", flush=True))
        ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
        helper = subprocess.Popen([sys.executable, "-c", ignore])
        print("stubborn", os.getpid(), helper.pid)
        while True:
            signal.pause()
    """,
    "leading": """
        import os, signal, subprocess, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        wait = "import signal; signal.sigwait([signal.SIGTERM])"  # the mask is inherited
        helper = subprocess.Popen([sys.executable, "-c", wait])
        print("leading", os.getpid(), helper.pid, flush=True)
        signal.sigwait([signal.SIGTERM])
        helper.terminate()
        sys.exit(helper.wait())
    """,
    "dying": """
        import sys
        print("dying with a last word")
        sys.exit(7)
    """,
}


@pytest.fixture(autouse=True)
def _hangup_is_not_ignored() -> Iterator[None]:
    """Let processes end at SIGHUP, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that subprocesses can run."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


USER_FILES = (
    "service",
    "workers",
    "platform",
    "torch",
    "ray",
    "numpy",
    "yaml",
    "gradnoise_service",
)


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder holds files with the names of modules; none may be imported."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in USER_FILES:
        text = f"raise SystemExit('{name}.py of the user was imported')"
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)


@pytest.fixture
def settings(
    tmp_path: Path, sqlite_template: Path, modules: None, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings with free ports and a home folder with a migrated database."""
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "gradnoise.db")
    port = ports.free("127.0.0.1")
    dashboard_port = ports.free("127.0.0.1", exclude=frozenset({port}))
    return Settings(home=home, port=port, dashboard_port=dashboard_port)
