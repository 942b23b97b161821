"""The results of a run as tables, and their copies in `benchmarks/results`."""

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Figure

BENCHMARKS = {"noise": "bench_noise_cuda", "stack": "bench_stack_cuda"}
"""The names under which the benchmarks themselves write these results."""


def draw(out: Path, names: Iterable[str]) -> bool:
    """Print the phases' results, keep them, and return whether all completed and hold their bars.

    Args:
        out: The folder that a run has filled.
        names: The phases.
    """
    harness.RESULTS.mkdir(exist_ok=True)
    outcomes = [_draw_phase(out / f"{name}.json", name) for name in names]
    return all(outcomes)


def _draw_phase(file: Path, name: str) -> bool:
    if not file.exists():
        print(f"\n{name}: there is no {file}")
        return False
    text = file.read_text(encoding="utf-8")
    found = json.loads(text)
    derived = ("median", "holds")
    figures = [
        Figure(**{key: value for key, value in each.items() if key not in derived})
        for each in found["figures"]
    ]
    outcome = f"{name}: {found['outcome']} after {found['seconds']:.0f} s"
    harness.show(f"{outcome}, on {found['machine']['gpu'] or 'a CPU'}", figures)
    for note in found["notes"]:
        print(f"  {note}")
    is_complete = found["outcome"] == "complete"
    if not is_complete:
        print(found["output"])
    kept = harness.RESULTS / f"{BENCHMARKS.get(name, f'first_gpu_{name}')}.json"
    kept.write_text(text, encoding="utf-8")
    return is_complete and all(figure.holds for figure in figures)
