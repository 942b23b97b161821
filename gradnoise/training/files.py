"""Files that trials save: each is written under a temporary name, then renamed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gradnoise.training import shared_files

MOST_FILES = 100
WEIGHTS_NAME = "weights.pt"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SavedFile:
    """A file that a trial has saved: its name, its size, and the SHA-256 of its content."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where trials save files, for every worker and the API to reach.

    Args:
        url: A folder, or a URL of fsspec, such as `s3://bucket/folder`, whose package the operator
            has installed.
        most_bytes: Largest size of a file; at least 1.

    Raises:
        ValueError: If most_bytes is less.
    """

    url: str
    most_bytes: int = 100_000_000

    def __post_init__(self) -> None:
        if self.most_bytes < 1:
            raise ValueError(
                f"most_bytes must be at least 1, but got most_bytes={self.most_bytes}."
            )

    def keep(self, place: str, name: str, path: Path) -> SavedFile:
        """Copy a file to a place, in the stead of one with the same name there.

        Args:
            place: The folder of the trial, a relative path; empty: the file is checked, and not
                kept.
            name: The name under which it is kept.
            path: The file.

        Raises:
            ValueError: If the file is too large.
            OSError: If it cannot be read or written.
        """
        n_bytes = path.stat().st_size
        if n_bytes > self.most_bytes:
            raise ValueError(
                f"a file must have at most {self.most_bytes} bytes, but {path} has {n_bytes}."
            )
        if not place:
            return SavedFile(name=name, n_bytes=n_bytes, sha256="")
        digest, n_bytes = hashlib.sha256(), 0
        with path.open("rb") as file, shared_files.replacing(self.url, f"{place}/{name}") as copy:
            while part := file.read(CHUNK_BYTES):
                digest.update(part)
                n_bytes += len(part)
                copy.write(part)
        return SavedFile(name=name, n_bytes=n_bytes, sha256=digest.hexdigest())

    def delete(self, place: str, name: str) -> None:
        """Delete a file, if it is there."""
        shared_files.delete(self.url, f"{place}/{name}")
