"""Examples that `gradnoise new` writes, one of each kind of workload."""

from importlib.resources import files
from pathlib import Path
from typing import Literal

from gradnoise_service.local.errors import FileExistsAlreadyError


def write(kind: Literal["workload", "function"], folder: Path) -> Path:
    """Write an example to `train.py` in a folder and return the file.

    Raises:
        FileExistsAlreadyError: If there is a file of this name.
    """
    file = folder / "train.py"
    text = files(__package__).joinpath(f"{kind}.py.txt").read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise FileExistsAlreadyError(file) from None
    return file
