"""The phases as processes: their time limits, and the file that each leaves."""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, document

ROOT = Path(__file__).resolve().parents[2]
OUTPUT_CHARACTERS = 8_000
"""Kept of the end of what a phase prints."""

Finding = Figure | str
"""A figure, or a note in words."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase, a process of its own.

    Args:
        name: Its module in `phases/`, and its file.
        seconds: When it is stopped.
        command: Its command without the interpreter; empty: that of its module.
    """

    name: str
    seconds: float
    command: Sequence[str] = ()

    def file(self, out: Path) -> Path:
        return out / f"{self.name}.json"


def run(stages: Sequence[Sequence[Phase]], out: Path, site: Path) -> bool:
    """Run the phases of each stage at the same time, and return whether all completed.

    Args:
        stages: One after the other.
        out: Where each phase leaves its file.
        site: A folder of installed packages for the phases.
    """
    completed = True
    for stage in stages:
        with ThreadPoolExecutor(len(stage)) as threads:
            outcomes = list(threads.map(lambda phase: _run_phase(phase, out, site), stage))
        for phase, (outcome, seconds) in zip(stage, outcomes, strict=True):
            print(f"{phase.name}: {outcome} after {seconds:.0f} s", flush=True)
            completed = completed and outcome == "complete"
    return completed


def write_as_found(out: Path, name: str, findings: Iterable[Finding]) -> None:
    """Write the file of a phase anew after each finding."""
    figures: list[Figure] = []
    notes: list[str] = []
    _write(out, name, document("first_gpu", figures) | {"notes": notes})
    for finding in findings:
        if isinstance(finding, Figure):
            figures.append(finding)
        else:
            notes.append(finding)
        _write(out, name, document("first_gpu", figures) | {"notes": notes})


def install_library(site: Path) -> None:
    """Write gradnoise's metadata, from which its techniques and workloads are found, to a folder.

    pip does this where gradnoise is installed; the phases run from the sources.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / f"gradnoise-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: gradnoise\nVersion: {project['version']}\n",
        encoding="utf-8",
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def logged() -> Iterator[list[str]]:
    """Yield the list of the messages that gradnoise logs within the context."""
    messages: list[str] = []
    handler, log = logging.Handler(), logging.getLogger("gradnoise")
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)


def _run_phase(phase: Phase, out: Path, site: Path) -> tuple[str, float]:
    """Run a phase, add its outcome to its file, and return the outcome and the seconds it took."""
    command = phase.command or ("-m", "benchmarks.first_gpu", str(out), "--phase", phase.name)
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    phase.file(out).unlink(missing_ok=True)
    start = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(phase.seconds)
            outcome = "complete" if status == 0 else f"failed with exit status {status}"
        except subprocess.TimeoutExpired:
            outcome = f"stopped at its limit of {phase.seconds:g} s"
        finally:
            _end(process)  # the processes that it started too
        seconds = time.monotonic() - start
        output.seek(0)
        text = output.read()[-OUTPUT_CHARACTERS:]
    found = _read(phase.file(out))
    _write(out, phase.name, found | {"outcome": outcome, "seconds": seconds, "output": text})
    return outcome, seconds


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(file: Path) -> dict[str, Any]:
    """Return what a phase has written; an empty result if it ended before that."""
    if not file.exists():
        return document("first_gpu", []) | {"notes": []}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _write(out: Path, name: str, found: dict[str, Any]) -> None:
    """Replace the file of a phase; a process that is stopped meanwhile leaves the file before."""
    part = out / f".{name}.part"
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    part.replace(out / f"{name}.json")
