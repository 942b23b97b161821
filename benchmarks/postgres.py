"""A temporary PostgreSQL server, as the tests start it."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from postgres_server import PostgresServer, postgres_binaries


@contextmanager
def server() -> Iterator[PostgresServer]:
    """Run a server until the block ends.

    Raises:
        RuntimeError: If PostgreSQL is not installed.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="bench-pg-", ignore_cleanup_errors=True) as folder:
        running = PostgresServer(binaries=binaries, folder=Path(folder))
        running.start()
        yield running
        running.stop()
