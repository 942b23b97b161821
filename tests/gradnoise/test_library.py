"""Properties of the library as a whole."""

import doctest
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import gradnoise
import gradnoise.workloads

MODULES = sorted(module.name for module in pkgutil.walk_packages(gradnoise.__path__, "gradnoise."))
NEEDS = {
    "gradnoise.integrations.lightning": "lightning",
    "gradnoise.integrations.transformers": "transformers",
    "gradnoise._kernels.compiled": "numba",
    "gradnoise._kernels.cuda": "triton",
}


@pytest.mark.parametrize("name", MODULES)
def test_the_doctests_of_every_module_pass(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_the_library_needs_torch_and_numpy_alone() -> None:
    """Hook, trainers and registry import no package of the extras or of the service."""
    program = (
        "import sys, gradnoise, gradnoise.training, gradnoise.workloads.catalogue; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert "torch" in loaded
    foreign = {"pooch", "sklearn", "scipy", "numba", "lightning", "transformers", "accelerate"}
    foreign |= {"sympy"}  # of torch's compiler
    foreign |= {
        "pydantic",
        "fastapi",
        "sqlalchemy",
        "optuna",
        "ray",
        "gradnoise_service",
        "gradnoise_workers",
    }
    assert not foreign & set(loaded)


@pytest.mark.parametrize("face", [gradnoise, gradnoise.workloads], ids=lambda face: face.__name__)
def test_every_public_name_exists_and_the_names_are_sorted(face: ModuleType) -> None:
    assert face.__all__ == sorted(face.__all__)
    assert all(hasattr(face, name) for name in face.__all__)


def test_the_version_is_that_of_the_installed_package() -> None:
    assert gradnoise.__version__ == importlib.metadata.version("gradnoise")
