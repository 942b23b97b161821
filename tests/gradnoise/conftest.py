"""What the library's tests share: packages with declarations, installed for one test."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from garbage import pytest_collection  # noqa: F401
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS
from installed import put

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install packages as pip does, for one test: entry points by name, of `gradnoise.workloads` or
    of another group, and modules by name.
    """
    known = set(sys.modules)

    def install_package(
        entry_points: Mapping[str, str],
        modules: Mapping[str, str] = {},
        *,
        package: str = "pack",
        group: str = "gradnoise.workloads",
    ) -> None:
        site = tmp_path / package
        put(site, package, entry_points, group)
        for name, source in modules.items():
            (site / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        reload()

    yield install_package
    reload()
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def reload() -> None:
    for registry in (WORKLOADS, TECHNIQUES, OPTIMIZERS):
        registry.reload()


@pytest.fixture(scope="session")
def probe_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package that declares the workloads of tests/support."""
    declared = (
        "exact",
        "narrow",
        "normed",
        "drawn",
        "lone",
        "odd",
        "blind",
        "fragile",
        "copies",
        "wide_loss",
    )
    functions = (
        "counting",
        "rounding",
        "splitting",
        "misbehaving",
        "leaking",
        "resuming",
        "stopping",
        "sleeping",
        "chattering",
        "telling",
        "saving",
    )
    points = {name: f"probe_workloads:{name}" for name in declared}
    points |= {name: f"probe_output:{name}" for name in ("printing", "exiting")}
    points |= {name: f"probe_functions:{name}" for name in functions}
    site = tmp_path_factory.mktemp("probes")
    put(site, "probes", points, "gradnoise.workloads")
    return site


@pytest.fixture(scope="module")
def probes(probe_site: Path) -> Iterator[None]:
    """Install the workloads of the modules probe_workloads, probe_output and probe_functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(probe_site)
        reload()
        yield
    reload()
