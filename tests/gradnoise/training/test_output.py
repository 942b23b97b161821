"""What trials print is collected as lines of plain text, within bounds."""

import ast
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradnoise.training.output import KEPT, LAST_LINES, Output, collecting, joined, watch_streams


def text(output: Output) -> str:
    return joined(output.take(is_last=True))


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (["a\nb", "c\n"], "a\nbc\n"),
        (["no end"], "no end\n"),
        (["\x1b[1;3", "1mred\x1b[0m\n"], "red\n"),
        (["\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b(B\x08\x00\n"], "ab(B\n"),
        (["10 %\r20 %", "\r30 %\n"], "30 %\n"),
        (["dos\r\n"], "dos\n"),
        (["bar\r", "\n"], "bar\n"),
        (["größer\tπ\n"], "größer\tπ\n"),
    ],
)
def test_a_line_is_plain_and_as_it_was_last(printed: list[str], shown: str) -> None:
    output = Output()
    for part in printed:
        output.add(part)
    assert text(output) == shown


def test_a_line_counts_when_it_has_ended_and_no_text_comes_twice() -> None:
    output = Output()
    output.add("one\ntw")
    assert output.take() == [(0, "one\n")]
    assert output.take() == []
    output.add("o\n")
    assert output.take() == [(4, "two\n")]


def test_of_much_output_the_first_and_last_characters_are_kept() -> None:
    """Whatever is printed between two calls, positions count what was left out."""
    output = Output()
    lines = [f"{i:7}\n" for i in range(3 * KEPT // 8)]
    for line in lines:
        output.add(line)
    head, tail = output.take()
    assert (head[0], len(head[1]), len(tail[1])) == (0, KEPT, KEPT)
    assert head[1] == "".join(lines)[:KEPT]
    assert (tail[0], tail[1]) == (2 * KEPT, "".join(lines)[-KEPT:])
    assert joined([head, tail]).count(f"[{KEPT} characters left out]\n") == 1
    assert output.last_lines().splitlines()[-1].strip() == str(len(lines) - 1)
    assert len(output.last_lines().splitlines()) == LAST_LINES
    output.add("next\n")
    assert output.take() == [(3 * KEPT, "next\n")]


def test_a_progress_bar_without_an_end_takes_no_room() -> None:
    output = Output()
    for i in range(100_000):
        output.add(f"\r{i} of 100000")
    assert text(output) == "99999 of 100000\n"
    output.add("x" * 5_000)
    assert output.take() != []  # a line without an end is broken


def test_streams_and_records_are_collected_where_they_go_anyway(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Handlers made before the block keep the watched stream."""
    outer, inner = Output(), Output()
    before = sys.stdout
    with collecting(outer):
        handler = logging.StreamHandler()
        record = logging.LogRecord("n", logging.INFO, "", 0, "logged", None, None)
        print("outer")  # noqa: T201
        with collecting(inner):
            print("inner", file=sys.stderr)  # noqa: T201
            handler.emit(record)
        print("outer", "again")  # noqa: T201
    handler.emit(record)
    assert sys.stdout is before
    assert text(outer) == "outer\nouter again\n"
    assert text(inner) == "inner\nlogged\n"
    assert capsys.readouterr() == ("outer\nouter again\n", "inner\nlogged\nlogged\n")


def test_a_process_can_be_watched_for_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    watch_streams()
    handler = logging.StreamHandler()
    watch_streams()
    output = Output()
    with collecting(output):
        handler.emit(logging.LogRecord("n", logging.INFO, "", 0, "logged", None, None))
    assert text(output) == "logged\n"
    assert capsys.readouterr().err == "logged\n"


@pytest.mark.slow
def test_what_code_in_c_prints_is_collected_and_its_file_stays_small(tmp_path: Path) -> None:
    """In a process of its own, whose descriptors it keeps; the last words stay in the file."""
    script = f"""
import os, sys
from pathlib import Path
from gradnoise.training.output import Output, collecting, keep_descriptors
path = Path({str(tmp_path / "printed")!r})
keep_descriptors(path)
os.write(1, b"before\\n")
first, second = Output(), Output()
with collecting(first):
    os.write(1, b"from C\\n")
    print("from Python")
with collecting(second):
    os.write(2, b"x" * 3_000_000)
size = path.stat().st_size
os.write(2, b"last words\\n")
texts = ["".join(text for _, text in output.take(is_last=True)) for output in (first, second)]
Path({str(tmp_path / "found")!r}).write_text(repr((texts[0], len(texts[1]), size)))
os.kill(os.getpid(), 11)
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGSEGV
    first, n_second, size = ast.literal_eval((tmp_path / "found").read_text())
    assert first == "from Python\nfrom C\n"
    assert n_second < 3 * KEPT
    assert size == 0
    words = (tmp_path / "printed").read_text()
    assert words.startswith("last words\nFatal Python error: Segmentation fault\n")
