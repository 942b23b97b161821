"""Settings that are derived from others."""

from pathlib import Path

import pytest

from gradnoise_service.settings import Settings


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "home/checkpoints"),
        ({"GRADNOISE_CHECKPOINTS": "shared"}, "shared"),
        ({"GRADNOISE_CHECKPOINTS": "/srv/c"}, "/srv/c"),
    ],
)
def test_checkpoints_are_in_the_home_folder_unless_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str
) -> None:
    """The path is absolute, because actors have another working directory."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings(home=Path("home")).checkpoint_folder == tmp_path / folder
