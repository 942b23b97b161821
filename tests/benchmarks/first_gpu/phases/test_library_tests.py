import importlib.util
from typing import Any

import pytest

from benchmarks.first_gpu.phases import library_tests
from benchmarks.harness import Figure


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("line", "is_failure"),
    [
        ("tests/test_a.py::test_b[c d] FAILED                       [ 33%]", True),
        ("tests/test_a.py::test_b ERROR                             [ 66%]", True),
        ("[gw0] [ 33%] FAILED tests/test_a.py::test_b[c d] ", True),
        ("[gw0] [100%] PASSED tests/test_a.py::test_b ", False),
        ("E       assert 'FAILED' == 'PASSED'", False),
    ],
)
def test_failures_are_found_while_the_tests_run(line: str, is_failure: bool) -> None:
    assert bool(library_tests.OF_FAILURE.search(line)) is is_failure
