"""Faults of a user's file, each as a sentence and a hint."""

import re
import sys
import traceback
from pathlib import Path


class SourceError(Exception):
    """What is wrong with a file.

    Args:
        message: One sentence, with the line if there is one.
        hint: What to do, one sentence.
        trace: The traceback through the user's own files; may be empty.
    """

    def __init__(self, message: str, hint: str, trace: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.trace = trace


def fault_of(error: BaseException, folder: Path) -> SourceError:
    """Return the fault behind an exception that a user's code raised.

    Args:
        error: The exception.
        folder: The folder of the user's files.
    """
    if isinstance(error, SourceError):
        return error
    if isinstance(error, SyntaxError) and error.filename:
        name = Path(error.filename).name
        text = (error.text or "").strip()
        return SourceError(
            f"{name}, line {error.lineno}: {error.msg}{f': {text}' if text else ''}",
            "Correct the line; `python` reports the same error.",
        )
    where = _line(error, folder)
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        return SourceError(
            f"{where}the file ends the program while it is imported ({kind}: {error.code}).",
            'Put what reads arguments or trains below `if __name__ == "__main__":`.',
            own_trace(error, folder),
        )
    said = " ".join(str(error).split()) or "no message"
    return SourceError(f"{where}{kind}: {said}", _hint(error, folder), own_trace(error, folder))


def own_trace(error: BaseException, folder: Path) -> str:
    """Return the traceback of an exception, from its first frame in the user's files."""
    frames = list(traceback.extract_tb(error.__traceback__))
    first = next((i for i, f in enumerate(frames) if _is_own(f.filename, folder)), len(frames))
    lines = traceback.format_list(frames[first:])
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()


def line_of(trace: str, folder: Path) -> str:
    """Return `FILE, line N: ` of the last line in the user's files that a traceback shows.

    Args:
        trace: The text of the traceback.
        folder: The folder of the user's files.
    """
    shown = re.findall(r'^  File "(.+)", line (\d+)', trace, re.MULTILINE)
    own = [(file, line) for file, line in shown if _is_own(file, folder)]
    if not own:
        return ""
    file, line = own[-1]
    return f"{Path(file).relative_to(folder).as_posix()}, line {line}: "


def _line(error: BaseException, folder: Path) -> str:
    """Return `FILE, line N: ` of the last frame in the user's files; empty without one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename, folder)]
    if not own:
        return ""
    return f"{Path(own[-1].filename).relative_to(folder).as_posix()}, line {own[-1].lineno}: "


def _is_own(filename: str, folder: Path) -> bool:
    path = Path(filename)
    return path.is_relative_to(folder) and "site-packages" not in path.relative_to(folder).parts


def _hint(error: BaseException, folder: Path) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        return (
            f"Install it for the Python that runs gradnoise: {sys.executable} -m pip install {top}"
        )
    if isinstance(error, FileNotFoundError):
        return f"A relative path starts at the folder of the file, {folder}."
    return "Correct the line, then run the command again."
