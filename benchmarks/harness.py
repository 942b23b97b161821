"""Figures with their spread and their bar, printed as a table and written as JSON."""

import contextlib
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# the mean of the last minute; above 0.5 other processes ran, and times are unreliable
LOAD_BEFORE = os.getloadavg()[0]
RESULTS = Path(__file__).resolve().parent / "results"
ROUNDS = 15
TURN_SECONDS = 0.05
PACKAGES = (
    "gradnoise",
    "torch",
    "numpy",
    "numba",
    "triton",
    "ray",
    "optuna",
    "sqlalchemy",
    "fastapi",
    "uvicorn",
)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured quantity: its value in each round, and the bar for their median, if any."""

    name: str
    unit: str
    values: Sequence[float]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        is_low = self.at_most is None or self.median <= self.at_most
        return is_low and (self.at_least is None or self.median >= self.at_least)

    @property
    def bar(self) -> str:
        return (
            f"<= {self.at_most:g}"
            if self.at_most is not None
            else f">= {self.at_least:g}"
            if self.at_least is not None
            else ""
        )


def report(name: str, figures: Iterable[Figure], result: str | None = None) -> bool:
    """Print the figures, write them as JSON, and return whether every bar holds.

    This needs only the standard library: some benchmarks run where only torch is installed.

    Args:
        name: The benchmark's module.
        figures: What it measured.
        result: The name of the file in `results/`, without `.json`; by default the module's.
    """
    figures = list(figures)
    show(result or name, figures)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{result or name}.json").write_text(
        json.dumps(document(name, figures), indent=2) + "\n", encoding="utf-8"
    )
    return all(figure.holds for figure in figures)


def show(title: str, figures: Iterable[Figure]) -> None:
    """Print the figures as a table, coloured on a terminal."""
    rows = [("", "median", "spread", "bar", "")]
    for figure in figures:
        spread = f"{min(figure.values):.3g} - {max(figure.values):.3g} ({len(figure.values)})"
        outcome = ("holds" if figure.holds else "MISSED") if figure.bar else ""
        rows.append(
            (f"{figure.name} [{figure.unit}]", f"{figure.median:.3g}", spread, figure.bar, outcome)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_coloured = sys.stdout.isatty()
    print(f"\n{title}")
    for i, (first, *others, last) in enumerate(rows):
        line = "  ".join(
            [
                first.ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)),
                last,
            ]
        )
        style = 31 if last == "MISSED" else 32 if last else 1 if i == 0 else 0
        print(f"\x1b[{style}m{line}\x1b[0m" if is_coloured else line)


def document(name: str, figures: Iterable[Figure]) -> dict[str, Any]:
    """Return the figures of a benchmark with what they were measured on, as JSON values."""
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "n_cores": os.cpu_count(),
            "gpu": _gpu(),
            "load_before": LOAD_BEFORE,
            "system": platform.platform(),
            "python": sys.version.split()[0],
        },
        "versions": _versions(),
        "figures": [
            asdict(figure) | {"median": figure.median, "holds": figure.holds} for figure in figures
        ],
    }


def side_by_side(*sides: Callable[[], object], seconds: float = 0.15) -> list[list[float]]:
    """Return the seconds per call of each side in each round.

    In a round each side runs for about `seconds`, in many alternating turns.
    """
    counts = [max(1, round(TURN_SECONDS / timed(side, 3))) for side in sides]
    n_turns = max(1, round(seconds / max(TURN_SECONDS, *(timed(side, 3) for side in sides))))
    rounds: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        turns = [
            [timed(side, n) for side, n in zip(sides, counts, strict=True)] for _ in range(n_turns)
        ]
        for values, in_turns in zip(rounds, zip(*turns, strict=True), strict=True):
            values.append(sum(in_turns) / n_turns)
    return rounds


def timed(side: Callable[[], object], n: int) -> float:
    """Return the mean seconds of n calls, after a call that is not measured."""
    side()
    synchronise()
    start = time.perf_counter()
    for _ in range(n):
        side()
    synchronise()
    return (time.perf_counter() - start) / n


def synchronise() -> None:
    """Wait for the GPU if torch uses it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio in each round."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def install(
    folder: Path, package: str, entry_points: Mapping[str, str], modules: Mapping[str, str] = {}
) -> str:
    """Install a package with workloads in the folder, and return the folder's path.

    Processes with the folder in `sys.path` or `PYTHONPATH` find the workloads.

    Args:
        folder: Created if missing.
        package: The name of the distribution.
        entry_points: The object reference of each workload, by the workload's name.
        modules: The source of each module that is installed, by the module's name.
    """
    metadata = folder / f"{package}-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 0\n", encoding="utf-8"
    )
    lines = [
        "[gradnoise.workloads]",
        *(f"{name} = {value}" for name, value in entry_points.items()),
        "",
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return str(folder)


def _gpu() -> str | None:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    lines = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if Path("/proc/cpuinfo").exists()
        else []
    )
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
