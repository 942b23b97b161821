"""`gradnoise logs` and `files` against a real API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from cli_output import rows

Run = Callable[..., Result]


def test_logs_are_printed_with_the_names_of_their_trials_or_of_one_trial(
    gradnoise: Run, study_file: Path, worker: Any
) -> None:
    """No escape sequence that a database holds reaches the terminal."""
    gradnoise("submit", study_file)
    worker.begin(1)
    assert "Nothing was printed." in gradnoise("logs", 1).stderr
    trial = worker.print_in(1, ["one\n", "two\n\x1b[2J[b]\n", "x" * 300, "end\n"])
    worker.print_in(1, ["other\n"])
    worker.retry(trial, "ValueError: boom")
    worker.print_in(1, ["again\n"])
    of_all = gradnoise("logs", "a study")
    assert of_all.exit_code == 0
    lines = of_all.stdout.splitlines()
    assert lines[:3] == [f"search/baseline/0 | {text}" for text in ("one", "two", "�[2J[b]")]
    assert [line for line in lines if "xx" not in line][3:] == [
        "search/baseline/0 | [116 characters left out]",
        "search/baseline/0 | end",
        "search/noisy/0 | other",
        "search/baseline/0 | [attempt 2]",
        "search/baseline/0 | again",
    ]
    of_one = gradnoise("logs", 1, "search/baseline/0")
    assert of_one.stdout == gradnoise("logs", 1, trial).stdout
    assert of_one.stdout.splitlines()[-2:] == ["[attempt 2]", "again"]
    pieces = [
        json.loads(line) for line in gradnoise("logs", 1, trial, "--json").stdout.splitlines()
    ]
    assert [piece["attempt"] for piece in pieces] == [1, 1, 1, 1, 1, 2]
    unknown = gradnoise("logs", 1, "search/nobody/0")
    assert unknown.exit_code == 1
    assert "phase/arm/number" in unknown.stderr


def test_a_finished_study_is_not_waited_for(gradnoise: Run, study_file: Path, worker: Any) -> None:
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.print_in(1, ["one\n"])
    gradnoise("cancel", 1)
    assert gradnoise("logs", 1, "--follow").stdout == "search/baseline/0 | one\n"


def test_files_are_listed_and_downloaded_into_a_folder_for_each_trial(
    gradnoise: Run, study_file: Path, worker: Any, tmp_path: Path
) -> None:
    """A content that differs from its hash is refused, and nothing of it is left."""
    gradnoise("submit", study_file)
    worker.begin(1)
    assert "No file was saved." in gradnoise("files", 1).stderr
    trial = worker.save_in(1, "w.txt", b"content")
    listed = rows(gradnoise("files", "a study", "search/baseline/0"))
    assert listed[1][:3] == ["search/baseline/0", "w.txt", "7"]
    assert json.loads(gradnoise("files", 1, "--json").stdout)[0]["trial_id"] == trial
    written = gradnoise("files", 1, "-o", tmp_path / "out")
    assert written.exit_code == 0, written.stderr
    copy = tmp_path / "out" / "search" / "baseline" / "0" / "w.txt"
    assert copy.read_bytes() == b"content"
    copy.unlink()
    worker.save_in(1, "w.txt", b"content", kept=b"CONTENT")
    assert "another content" in gradnoise("files", 1, "-o", tmp_path / "out").stderr
    assert list(copy.parent.iterdir()) == []
