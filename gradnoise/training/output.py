"""What a trial leaves: its prints, as lines of plain text within bounds, and its files."""

import faulthandler
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradnoise.training.files import Files, SavedFile

KEPT = 32_768
MOST_IN_FILE = 1_000_000
LAST_LINES = 20
LONGEST_LINE = 4_096
STREAMS = ("stdout", "stderr")

ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # such as colours
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # such as titles and links
    r"|\x1b[@-Z\\-_]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


class Output:
    """What a trial has printed, line by line, without the escape sequences of terminals.

    A line that was overwritten, as by a progress bar, has its last content alone. Of what is
    printed between two calls of `take`, the first and the last KEPT characters are kept.

    Args:
        files: Where it saves files; None: nowhere.

    Attributes:
        files: The same.
        saved: The files that it has saved, not yet taken.
    """

    def __init__(self, files: Files | None = None) -> None:
        self.files = files
        self.saved: list[SavedFile] = []
        self._line = ""
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._position = 0
        self._head = self._tail = ""
        self._n_dropped = 0

    def add(self, text: str) -> None:
        """Add what was printed; a line counts as printed when it ends."""
        *lines, line = (self._line + text).split("\n")
        for ended in lines:
            self._end_line(ended)
        if len(line) > LONGEST_LINE:
            line = line[_overwritten(line) :]
        if len(line) > LONGEST_LINE:
            self._end_line(line)
            line = ""
        self._line = line

    def take(self, *, is_last: bool = False) -> list[tuple[int, str]]:
        """Return what was printed since the last call, as texts with their positions.

        The position of a text is the number of characters before it, those left out included.

        Args:
            is_last: Whether nothing follows, so that a line without an end counts too.
        """
        if is_last and self._line:
            self._end_line(self._line)
            self._line = ""
        texts = [(self._position, self._head)]
        if self._n_dropped:
            texts.append((self._position + len(self._head) + self._n_dropped, self._tail))
        else:
            texts = [(self._position, self._head + self._tail)]
        self._position += len(self._head) + self._n_dropped + len(self._tail)
        self._head = self._tail = ""
        self._n_dropped = 0
        return [(position, text) for position, text in texts if text]

    def take_saved(self) -> list[SavedFile]:
        """Return the files that were saved since the last call."""
        saved, self.saved = self.saved, []
        return saved

    def last_lines(self) -> str:
        """Return the last LAST_LINES lines."""
        begun = [_plain(self._line)] if self._line else []
        return "\n".join([*self._last_lines, *begun][-LAST_LINES:]).strip()

    def _end_line(self, line: str) -> None:
        plain = _plain(line)
        self._last_lines.append(plain)
        text = plain + "\n"
        n = KEPT - len(self._head)
        self._head += text[:n]
        tail = self._tail + text[n:]
        self._n_dropped += max(0, len(tail) - KEPT)
        self._tail = tail[-KEPT:]


def joined(texts: Iterable[tuple[int, str]]) -> str:
    """Return texts with their positions as one, with a note where something was left out."""
    found, end = "", 0
    for position, text in texts:
        left_out = position - end
        found += f"[{left_out} characters left out]\n" if left_out else ""
        found, end = found + text, position + len(text)
    return found


def _overwritten(line: str) -> int:
    """Return the number of characters that a carriage return has overwritten."""
    return line.rstrip("\r").rfind("\r") + 1


def _plain(line: str) -> str:
    return ESCAPES.sub("", line[_overwritten(line) :])


class _Watched:
    """A stream that passes on what is written to it, and adds it to an output if it has one."""

    def __init__(self, stream: Any) -> None:
        self.output: Output | None = None
        self._stream = stream

    def write(self, text: str) -> int:
        if self.output is not None:
            self.output.add(text)
            if _descriptors:  # its file system may be full
                return len(text)
        n: int = self._stream.write(text)
        return n

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Descriptors:
    """The standard output and error of this process, which go to a file from now on.

    So code in C prints to the file as well, and so does Python when it dies. The file outlives the
    process.

    Args:
        path: The file, in a folder that exists.

    Raises:
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        self._output: Output | None = None
        self._n_read = 0
        for descriptor in (1, 2):
            os.dup2(self._file, descriptor)
        faulthandler.enable(2)

    def turn(self, output: Output | None) -> Output | None:
        """Add what was printed since the last call to the output of that call, and return it.

        Args:
            output: Takes what is printed from now on.
        """
        new = os.fstat(self._file).st_size - self._n_read
        if new:
            self._add(new)
        before, self._output = self._output, output
        return before

    def _add(self, n: int) -> None:
        """Add the next n bytes, without the middle of many, and empty the file once it is large."""
        parts = [(0, n)] if n <= 2 * KEPT else [(0, KEPT), (n - KEPT, KEPT)]
        texts = [os.pread(self._file, size, self._n_read + start) for start, size in parts]
        left_out = f"\n[{n - 2 * KEPT} bytes left out]\n"
        if self._output is not None:
            self._output.add(left_out.join(text.decode(errors="replace") for text in texts))
        self._n_read += n
        if self._n_read > MOST_IN_FILE:
            os.ftruncate(self._file, 0)
            self._n_read = 0


_descriptors: list[Descriptors] = []


def keep_descriptors(path: Path) -> None:
    """Collect also what code in C prints, in a file, for the rest of this process.

    Raises:
        OSError: If it cannot be written.
    """
    _descriptors.append(Descriptors(path))


def watch_streams() -> None:
    """Watch `sys.stdout` and `sys.stderr` of this process from now on.

    A handler of `logging` keeps the stream that it finds when it is made. Those made after this
    call write to the watched streams, also within a later `collecting`.
    """
    for name in STREAMS:
        stream = getattr(sys, name)
        if not isinstance(stream, _Watched):
            setattr(sys, name, _Watched(stream))


@contextmanager
def collecting(output: Output) -> Iterator[None]:
    """Add what this process prints within the block to an output.

    What code in C prints is added after `keep_descriptors`.
    """
    replaced = [getattr(sys, name) for name in STREAMS]
    watch_streams()
    watched = [getattr(sys, name) for name in STREAMS]
    before = [stream.output for stream in watched]
    for stream in watched:
        stream.output = output
    written = [descriptors.turn(output) for descriptors in _descriptors]
    try:
        yield
    finally:
        for descriptors, earlier_output in zip(_descriptors, written, strict=True):
            descriptors.turn(earlier_output)
        for name, stream, other, earlier in zip(STREAMS, watched, replaced, before, strict=True):
            stream.output = earlier
            setattr(sys, name, other)
