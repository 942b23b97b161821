"""`python -m benchmarks.first_gpu OUT`: check and measure gradnoise on the first GPU.

It takes at most 8 minutes and needs only torch and Triton. Each phase is a process with a time
limit and writes `OUT/<phase>.json` as it proceeds, so that a phase that fails or is stopped leaves
what it found, and costs no other phase. Without a GPU each phase runs a smaller form on the CPU, or
notes that there is no GPU.

`python -m benchmarks.first_gpu --draw OUT` prints the results as tables, writes them to
`benchmarks/results`, and exits with 1 if a phase failed or a bar is missed. It needs neither torch
nor a GPU.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from benchmarks.first_gpu import drawing, running
from benchmarks.first_gpu.running import Phase

STAGES = (
    (Phase(name="environment", seconds=40),),
    (
        Phase(name="library_tests", seconds=110),
        Phase(name="parity", seconds=110),
        Phase(name="drills", seconds=110),
    ),
    (Phase(name="noise", seconds=40),),
    (Phase(name="stack", seconds=170),),
    (Phase(name="epoch", seconds=60),),
    (Phase(name="calibration", seconds=50),),
)
"""The phases of a stage run at the same time: those that time nothing share the GPU."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, help="folder of the results, made if missing")
    parser.add_argument("--draw", action="store_true", help="print and keep the results")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    names = [phase.name for stage in STAGES for phase in stage]
    if arguments.draw:
        return 0 if drawing.draw(out, names) else 1
    if arguments.phase:
        module = importlib.import_module(f"benchmarks.first_gpu.phases.{arguments.phase}")
        running.write_as_found(out, arguments.phase, module.findings())
        return 0
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gradnoise-") as site:
        running.install_library(Path(site))
        return 0 if running.run(STAGES, out, Path(site)) else 1


if __name__ == "__main__":
    sys.exit(main())
