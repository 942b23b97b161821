"""The wheel, installed beside torch and numpy alone, is a working library."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from linked_environment import link_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gradnoise", "gradnoise_service", "gradnoise_workers")


@dataclass
class Installed:
    """A virtual environment with the wheel; `added` are the names that it added."""

    folder: Path
    site_packages: Path
    added: set[str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, without the settings of this process."""
        program, *arguments = command
        environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of this checkout in an environment with torch and numpy alone."""
    folder = tmp_path_factory.mktemp("packaging")
    pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(ROOT))
    (wheel,) = folder.glob("*.whl")
    site_packages = link_environment(folder / "venv", "torch", "numpy")
    before = names_in(site_packages)
    python = folder / "venv" / "bin" / "python"
    pip(f"--python={python}", "install", "--no-deps", "--no-index", str(wheel))
    return Installed(folder / "venv", site_packages, names_in(site_packages) - before)


def test_wheel_adds_only_packages_named_gradnoise(installed: Installed) -> None:
    """It adds no package named service, workers, alembic or tests."""
    (metadata,) = (name for name in installed.added if name.endswith(".dist-info"))
    assert metadata.startswith("gradnoise-")
    assert installed.added == {*PACKAGES, metadata}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_typed(installed: Installed, package: str) -> None:
    assert (installed.site_packages / package / "py.typed").exists()


def test_migrations_are_inside_the_service(installed: Installed) -> None:
    folder = installed.site_packages / "gradnoise_service" / "alembic"
    assert (folder / "env.py").exists()
    migrations = {path.name for path in (ROOT / "alembic" / "versions").glob("*.py")}
    assert {path.name for path in (folder / "versions").glob("*.py")} == migrations


def test_library_adds_noise(installed: Installed) -> None:
    """It is imported from the environment and changes a step of an optimizer."""
    program = """
import gradnoise, torch
weight = torch.nn.Parameter(torch.zeros(3))
optimizer = torch.optim.SGD([weight], lr=1.0)
gradnoise.attach(optimizer, eta=0.01, gamma=0.55, seed=1)
weight.grad = torch.zeros(3)
optimizer.step()
assert weight.abs().min() > 0
print(gradnoise.__file__)
"""
    done = installed.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.folder)


def test_command_names_the_missing_extra(installed: Installed) -> None:
    """It prints no traceback."""
    done = installed.run("gradnoise", "--help")
    assert done.returncode == 1
    assert "pip install 'gradnoise[service]'" in done.stderr
    assert "Traceback" not in done.stderr


def pip(*arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", *quiet, *arguments], check=True)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
