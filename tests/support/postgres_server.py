"""A temporary PostgreSQL server."""

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class PostgresServer:
    """A PostgreSQL server that stores everything in a folder and listens on a socket there.

    PostgreSQL refuses to run as root, so a root process runs its programs as the user `postgres`.

    Args:
        binaries: The folder of initdb, pg_ctl and psql.
        folder: An empty folder.
    """

    binaries: Path
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    watchdog: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            f"--pgdata={self.folder}/data",
        )
        # stops the server when its standard input closes: in stop(), or when this process dies
        script = (
            f"read _; {self.binaries}/pg_ctl stop --mode=immediate --pgdata={self.folder}/data; "
            f"rm -rf {self.folder}"
        )
        self.watchdog = subprocess.Popen(
            [*self._user(), "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        settings = (
            f"-k {self.folder} -c listen_addresses='' -c fsync=off -c synchronous_commit=off "
            "-c full_page_writes=off"
        )
        self._run(
            "pg_ctl",
            "start",
            "--wait",
            f"--pgdata={self.folder}/data",
            f"--log={self.folder}/log",
            f"--options={settings}",
        )

    def restart(self) -> None:
        """Stop the server at once, without closing its connections, and start it again."""
        data = f"--pgdata={self.folder}/data"
        self._run("pg_ctl", "restart", "--mode=immediate", "--wait", data)

    def crash(self) -> None:
        """Kill a process of the server, which then ends all others; wait until it answers again."""
        self._postmaster().children()[-1].kill()
        is_ready = [*self._user(), str(self.binaries / "pg_isready"), "-q", f"--host={self.folder}"]
        while subprocess.run(is_ready, cwd=self.folder, check=False).returncode:
            time.sleep(0.05)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop every process of the server in a block, so that it answers nothing."""
        postmaster = self._postmaster()
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in reversed(processes):
                process.resume()

    def stop(self) -> None:
        self.watchdog.communicate()

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """Create a database as a copy of the template and return its name."""
        name = f"test_{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Execute a statement as the superuser and return the output of psql."""
        return self._run(
            "psql",
            f"--host={self.folder}",
            "--username=postgres",
            "--no-psqlrc",
            "-qtA",
            f"--command={statement}",
            database,
        )

    def _postmaster(self) -> psutil.Process:
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return psutil.Process(pid)

    def _run(self, program: str, *arguments: str) -> str:
        # a file, because the server would inherit a pipe and its reader would wait for the server
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(
                [*self._user(), str(self.binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                check=False,
            ).returncode
            output.seek(0)
            text = output.read()
        assert code == 0, f"{program} exited with {code}: {text}"
        return text

    def _user(self) -> list[str]:
        return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def postgres_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL server programs, None if there are none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None
