"""Settings that are derived from others."""

from pathlib import Path

import pytest
from pydantic import ValidationError

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
    assert Settings(home=Path("home")).checkpoints_url == str(tmp_path / folder)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8001"),
        ("::1", "http://[::1]:8001"),
        ("0.0.0.0", "http://127.0.0.1:8001"),
        ("::", "http://[::1]:8001"),
    ],
)
def test_dashboard_is_linked_where_it_listens(host: str, url: str) -> None:
    assert Settings(host=host).dashboard_url == url


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HOME", "CHECKPOINTS", "ARTIFACTS", "ADMIN_TOKEN_FILE"):
        monkeypatch.setenv(f"GRADNOISE_{name}", f"~/{name}")
    (tmp_path / "ADMIN_TOKEN_FILE").write_text("a token", encoding="utf-8")
    settings = Settings()
    assert settings.home == tmp_path / "HOME"
    assert settings.checkpoints_url == str(tmp_path / "CHECKPOINTS")
    assert settings.artifacts_url == str(tmp_path / "ARTIFACTS")
    assert settings.admin_token_file == tmp_path / "ADMIN_TOKEN_FILE"


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be read: No such file or directory"):
        Settings(admin_token_file=tmp_path / "none")
