"""Source: the code of a study whose workload is a file of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.hashes import sha256

MAX_SOURCE_BYTES = 500_000
"""Most bytes of all files of a source together."""

IMPORT_TOO_LONG = "its import did not end within the time that GRADNOISE_IMPORT_SECONDS allows"
IMPORT_HINT = (
    "Put what trains, downloads or waits into the function or below "
    '`if __name__ == "__main__":`, or allow more seconds.'
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file, with the modules that it imports from its own folder.

    Args:
        name: The file's name, such as `train.py`; one of `files`.
        files: The text of each file, by its path relative to the folder, with `/`.
        folder: The folder in which the files lay. Their code runs there if it exists, so that it
            finds its data.
        announced: What the code declares, as a catalogue announces it: `workloads`, `techniques`
            and `optimizers`.
    """

    name: str
    files: Mapping[str, str]
    folder: str
    announced: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """The SHA-256 over the name, and the paths and texts of all files."""
        return sha256([self.name, sorted(self.files.items())])


def check_size(files: Mapping[str, str]) -> None:
    """Check that a source is small enough to be stored with every study.

    Raises:
        InvalidSpecError: If its files are too large together.
    """
    n_bytes = sum(len(text.encode()) for text in files.values())
    if n_bytes > MAX_SOURCE_BYTES:
        raise InvalidSpecError(
            [
                FieldFault(
                    field="files",
                    value=n_bytes,
                    message=f"the files have {n_bytes:,} bytes together",
                    legal=f"at most {MAX_SOURCE_BYTES:,} bytes of code; put data into other files",
                )
            ]
        )
