"""`gradnoise token` against an API with an admin token."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import Result

from cli_output import rows


def test_token_is_created_listed_and_revoked(
    serve: Any, worker: Any, gradnoise: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stdout holds the token alone, so that a script can store it."""
    monkeypatch.setenv("GRADNOISE_URL", serve(admin_token=SecretStr("the-admin-token")).url)
    refused = gradnoise("token", "list")
    assert refused.exit_code == 1
    assert "token" in refused.stderr
    monkeypatch.setenv("GRADNOISE_TOKEN", "the-admin-token")
    options = ("--owner", "ada", "--scope", "read", "--days", 0)
    token = gradnoise("token", "create", "laptop", *options).stdout.strip()
    assert gradnoise("list", "--token", token).exit_code == 0
    assert rows(gradnoise("token", "list"))[1] == ["laptop", "ada", "read", "-"]
    assert gradnoise("token", "revoke", "laptop").exit_code == 0
    assert gradnoise("list", "--token", token).exit_code == 1
