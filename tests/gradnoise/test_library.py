"""Properties of the library as a whole."""

import ast
import doctest
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gradnoise
import gradnoise.workloads

MODULES = sorted(module.name for module in pkgutil.walk_packages(gradnoise.__path__, "gradnoise."))
NEEDS = {
    "gradnoise.integrations.lightning": "lightning",
    "gradnoise.integrations.lightning_trial": "lightning",
    "gradnoise.integrations.transformers": "transformers",
    "gradnoise.integrations.transformers_trial": "transformers",
    "gradnoise._kernels.compiled": "numba",
    "gradnoise._kernels.intrinsics": "numba",
    "gradnoise._kernels.machine_code": "numba",
    "gradnoise._kernels.native": "numba",
    "gradnoise._kernels.native_networks": "numba",
    "gradnoise._kernels.networks": "numba",
    "gradnoise._kernels.object_file": "numba",
    "gradnoise._kernels.openmp": "numba",
    "gradnoise._kernels.tiles": "numba",
    "gradnoise._kernels.cuda": "triton",
}
OF_EXTRAS = {
    "gradnoise/_kernels/compiled.py": {"numba", "llvmlite"},
    "gradnoise/_kernels/cuda.py": {"triton"},
    "gradnoise/_kernels/intrinsics.py": {"numba", "llvmlite"},
    "gradnoise/_kernels/machine_code.py": {"llvmlite"},
    "gradnoise/_kernels/networks.py": {"numba"},
    "gradnoise/_kernels/object_file.py": {"numba", "llvmlite"},
    "gradnoise/_kernels/tiles.py": {"numba", "llvmlite"},
    "gradnoise/integrations/lightning.py": {"lightning"},
    "gradnoise/integrations/lightning_trial.py": {"lightning"},
    "gradnoise/integrations/transformers.py": {"transformers"},
    "gradnoise/integrations/transformers_trial.py": {"transformers"},
    "gradnoise/training/shared_files.py": {"fsspec"},
    "gradnoise/workloads/paper/downloads.py": {"pooch"},
}
"""Packages other than torch and numpy, by the module that imports them."""


@pytest.mark.parametrize("name", MODULES)
def test_the_doctests_of_every_module_pass(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_no_function_imports_a_package_of_the_extras_elsewhere() -> None:
    """Imports inside functions included: torch and numpy suffice for every other module."""
    root = Path(gradnoise.__file__).parent
    always = {*sys.stdlib_module_names, "torch", "numpy", "gradnoise"}
    found = {
        f"gradnoise/{path.relative_to(root).as_posix()}": imported(path) - always
        for path in root.rglob("*.py")
    }
    assert {path: names for path, names in found.items() if names} == OF_EXTRAS


def imported(path: Path) -> set[str]:
    """Return the top-level packages that any statement of a module imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.append(node.module)
    return {name.partition(".")[0] for name in names}


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
def test_every_public_name_exists_once(face: ModuleType) -> None:
    assert len(set(face.__all__)) == len(face.__all__)
    assert all(hasattr(face, name) for name in face.__all__)


def test_the_version_is_that_of_the_installed_package() -> None:
    assert gradnoise.__version__ == importlib.metadata.version("gradnoise")
