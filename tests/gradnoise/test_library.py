"""What holds of the library as a whole."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import gradnoise

MODULES = sorted(module.name for module in pkgutil.walk_packages(gradnoise.__path__, "gradnoise."))
NEEDS = {
    "gradnoise.integrations.lightning": "lightning",
    "gradnoise.integrations.transformers": "transformers",
    "gradnoise._kernels.compiled": "numba",
    "gradnoise._kernels.cuda": "triton",
}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_are_true(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_the_library_needs_torch_and_numpy_alone() -> None:
    """Hook, trainers and registry load none of what the data sets, the integrations or the service
    bring.
    """
    program = (
        "import sys, gradnoise, gradnoise.training, gradnoise.workloads.catalogue; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert "torch" in loaded
    others = {"pooch", "sklearn", "scipy", "numba", "lightning", "transformers", "accelerate"}
    others |= {"sympy"}  # torch's compiler does
    others |= {
        "pydantic",
        "fastapi",
        "sqlalchemy",
        "optuna",
        "ray",
        "gradnoise_service",
        "gradnoise_workers",
    }
    assert not others & set(loaded)


def test_its_face_is_sorted_and_there() -> None:
    assert gradnoise.__all__ == sorted(gradnoise.__all__)
    assert all(hasattr(gradnoise, name) for name in gradnoise.__all__)
