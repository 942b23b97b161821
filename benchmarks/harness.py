"""What every benchmark shares: figures with their spread, held against a bar, as a table and as JSON."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

LOAD_BEFORE = os.getloadavg()[0]  # of the last minute: above 0.5 something else was running, and the times say little
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("gradnoise", "torch", "ray", "optuna", "sqlalchemy", "fastapi", "uvicorn")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured quantity: the values of all rounds, and the most its median may be (`at_most`), if there is such a bar."""

    name: str
    unit: str
    values: Sequence[float]
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        return self.at_most is None or self.median <= self.at_most


def report(name: str, figures: Sequence[Figure]) -> bool:
    """Print the figures, write them to `results/<name>.json`, and return whether every bar holds."""
    table = Table(title=name, title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("median", "spread", "bar"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for figure in figures:
        spread = f"{min(figure.values):.3g} - {max(figure.values):.3g} ({len(figure.values)})"
        bar, holds = ("", "") if figure.at_most is None else (f"<= {figure.at_most:g}", "holds" if figure.holds else "MISSED")
        table.add_row(f"{figure.name} [{figure.unit}]".replace("[", "\\["), f"{figure.median:.3g}", spread, bar, holds)
    Console().print(table)
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
        "versions": {package: version(package) for package in PACKAGES},
        "figures": [asdict(figure) | {"median": figure.median, "holds": figure.holds} for figure in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return all(figure.holds for figure in figures)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
