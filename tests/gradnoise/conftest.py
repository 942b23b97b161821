"""What the library's tests share: packages with declarations, installed for one test."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install packages as pip does, for one test: entry points by name, of `gradnoise.workloads` or
    of another group, and modules by name.
    """
    known = set(sys.modules)

    def put(
        entry_points: Mapping[str, str],
        modules: Mapping[str, str] = {},
        *,
        package: str = "pack",
        group: str = "gradnoise.workloads",
    ) -> None:
        site = tmp_path / package
        (site / f"{package}-1.dist-info").mkdir(parents=True)
        (site / f"{package}-1.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n"
        )
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (site / f"{package}-1.dist-info" / "entry_points.txt").write_text(
            "\n".join([f"[{group}]", *lines, ""])
        )
        for name, source in modules.items():
            (site / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        reload()

    yield put
    reload()
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def reload() -> None:
    for registry in (WORKLOADS, TECHNIQUES, OPTIMIZERS):
        registry.reload()


@pytest.fixture
def probes(install: Install) -> None:
    """Install the workloads of tests/support/probe_workloads.py and probe_functions.py."""
    declared = (
        "exact",
        "narrow",
        "normed",
        "drawn",
        "lone",
        "odd",
        "blind",
        "fragile",
        "wide_loss",
    )
    functions = ("counting", "splitting", "misbehaving")
    points = {name: f"probe_workloads:{name}" for name in declared}
    install(points | {name: f"probe_functions:{name}" for name in functions})
