"""`python -m benchmarks`: run every benchmark of this folder; exit with 1 if a bar is missed."""

import importlib
import sys
from pathlib import Path


def main() -> int:
    names = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    held = [importlib.import_module(f"benchmarks.{name}").main() for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
