import importlib.util
from typing import Any

import pytest

from benchmarks.first_gpu.phases import library_tests
from benchmarks.harness import Figure


def test_tests_run_without_the_plugins_of_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyproject.toml has a setting of one of them."""
    find = importlib.util.find_spec

    def found(name: str, *rest: Any) -> Any:
        return None if name in ("pytest_timeout", "xdist") else find(name, *rest)

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(importlib.util, "find_spec", found)
    monkeypatch.setattr(library_tests, "ON_CPU", ("training/test_memory.py",))
    monkeypatch.setattr(library_tests.torch.cuda, "is_available", lambda: False)
    findings = list(library_tests.findings())
    passed, failed = (each for each in findings if isinstance(each, Figure))
    assert passed.holds, findings
    assert failed.holds, findings
