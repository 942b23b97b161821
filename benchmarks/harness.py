"""What every benchmark shares: figures with their spread, held against a bar, as a table and as JSON."""

import contextlib
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LOAD_BEFORE = os.getloadavg()[0]  # of the last minute: above 0.5 something else was running, and the times say little
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("gradnoise", "torch", "numpy", "numba", "triton", "ray", "optuna", "sqlalchemy", "fastapi", "uvicorn")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured quantity: the values of all rounds, and the bar that their median must hold, if there is one."""

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
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}" if self.at_least is not None else ""


def report(name: str, figures: Sequence[Figure], result: str | None = None) -> bool:
    """Print the figures, write them to `results/<result or name>.json`, and return whether every bar holds.

    It needs the standard library alone, so that it runs on a machine that has just torch.
    """
    rows = [("", "median", "spread", "bar", "")]
    for figure in figures:
        spread = f"{min(figure.values):.3g} - {max(figure.values):.3g} ({len(figure.values)})"
        holds = ("holds" if figure.holds else "MISSED") if figure.bar else ""
        rows.append((f"{figure.name} [{figure.unit}]", f"{figure.median:.3g}", spread, figure.bar, holds))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_coloured = sys.stdout.isatty()
    print(f"\n{result or name}")
    for i, (first, *others, last) in enumerate(rows):
        line = "  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)), last])
        style = 31 if last == "MISSED" else 32 if last else 1 if i == 0 else 0
        print(f"\x1b[{style}m{line}\x1b[0m" if is_coloured else line)
    document = {
        "command": f"python -m benchmarks.{name}",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "n_cores": os.cpu_count(),
            "load_before": LOAD_BEFORE,
            "system": platform.platform(),
            "python": sys.version.split()[0],
        },
        "versions": _versions(),
        "figures": [asdict(figure) | {"median": figure.median, "holds": figure.holds} for figure in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{result or name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return all(figure.holds for figure in figures)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
