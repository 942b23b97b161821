"""`gradnoise presets` prints study files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from cli_output import rows
from gradnoise_service import presets


@pytest.mark.usefixtures("whole_catalogue")
def test_printed_preset_can_be_submitted(
    gradnoise: Callable[..., Result], study_file: Path
) -> None:
    """A paper table is a file of several studies, to which no key applies."""
    study_file.write_text(gradnoise("presets", "demo").stdout, encoding="utf-8")
    assert gradnoise("submit", study_file).exit_code == 0
    table = gradnoise("presets", "paper-table-1", "--scale", "half").stdout
    study_file.write_text(table, encoding="utf-8")
    assert gradnoise("submit", study_file, "--key", "k").exit_code == 2
    assert gradnoise("submit", study_file).exit_code == 0
    assert rows(gradnoise("list"))[1][1] == presets.load("paper-table-1", "half")[-1]["name"]
