"""All settings of the service's processes, read once from `GRADNOISE_*` by each process's root."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GRADNOISE_", frozen=True, extra="ignore")

    home: Path = Field(
        default=Path(".gradnoise"),
        description="Folder for the SQLite database, logs and reports of the embedded service.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the database; a SQLite file in the home folder by default.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address the API and the dashboard listen on; any but loopback requires tokens.",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the API and the pages.")
    dashboard_port: int = Field(
        default=8001, ge=1, le=65535, description="Port of the guarded Optuna Dashboard."
    )
    public_dashboard_url: str = Field(
        default="",
        description="Where people reach the dashboard; http://127.0.0.1:<dashboard_port> by default.",
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Host names that requests may carry, beside the loopback ones; a JSON list.",
    )
    admin_token: SecretStr | None = Field(
        default=None, description="A token with every scope, for the first login of a cluster."
    )
    admin_token_file: Path | None = Field(
        default=None, description="File that holds the admin token; instead of admin_token."
    )
    max_trials: int = Field(
        default=20_000,
        ge=2,
        description="Most trials that one study may have, all arms and phases together.",
    )
    max_body_bytes: int = Field(
        default=1_000_000, ge=1_000, description="Largest request body, in bytes."
    )
    requests_per_minute: int = Field(
        default=600, ge=1, description="Most requests that one client may send in a minute."
    )
    lease_seconds: int = Field(
        default=30, ge=2, description="How long a dispatcher holds a study without a sign of life."
    )
    concurrent_studies: int = Field(
        default=1,
        ge=1,
        le=64,
        description=(
            "How many studies one dispatcher runs at once; each gets that share of every core or "
            "GPU."
        ),
    )
    slots: int = Field(
        default=0,
        ge=0,
        description=(
            "How many trials one actor trains as one model; 0 for as many as a measurement finds "
            "best."
        ),
    )
    checkpoints: Path | None = Field(
        default=None,
        description=(
            "Folder for checkpoints, the same on all nodes; `checkpoints` in the home folder by "
            "default."
        ),
    )
    checkpoint_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Least time between two checkpoints of a trial; 0 for every epoch.",
    )
    ray_address: str = Field(
        default="local", description="Ray cluster to join; `local` starts one on this machine."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Logs for people or for machines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )

    @property
    def database(self) -> str:
        """The effective SQLAlchemy URL, its driver named."""
        url = (
            self.database_url.get_secret_value()
            or f"sqlite:///{self.home.resolve() / 'gradnoise.db'}"
        )
        for short in ("postgresql://", "postgres://"):
            if url.startswith(short):
                return "postgresql+psycopg://" + url.removeprefix(short)
        return url

    @property
    def checkpoint_folder(self) -> Path:
        return (self.checkpoints or self.home / "checkpoints").resolve()

    @property
    def bootstrap_token(self) -> str | None:
        if self.admin_token is not None:
            return self.admin_token.get_secret_value()
        return (
            self.admin_token_file.read_text(encoding="utf-8").strip()
            if self.admin_token_file is not None
            else None
        )

    @property
    def is_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def dashboard_url(self) -> str:
        return self.public_dashboard_url or f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)
