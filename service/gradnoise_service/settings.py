"""Settings of the service's processes; each process reads `GRADNOISE_*` once, at its start."""

import re
import sys
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gradnoise_service.domain.webhook import SECRET_PATTERN

Network = IPv4Network | IPv6Network


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GRADNOISE_", frozen=True, extra="ignore")

    home: Path = Field(
        default=Path(".gradnoise"),
        description="Folder for the SQLite database, logs and reports of the embedded service.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the database; by default a SQLite file in the home folder.",
    )
    database_seconds: float = Field(
        default=5.0,
        gt=0,
        description=(
            "Seconds that a request waits for a free connection to the database, and again for its "
            "answer, before it is answered with 503."
        ),
    )
    event_streams: int = Field(
        default=100, ge=1, description="Maximum number of event streams that an owner holds open."
    )
    host: str = Field(
        default="127.0.0.1",
        description=(
            "Address of the API and the dashboard; any address but loopback requires tokens."
        ),
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the API and the pages.")
    dashboard_port: int = Field(
        default=8001, ge=1, le=65535, description="Port of the guarded Optuna Dashboard."
    )
    public_dashboard_url: str = Field(
        default="",
        description=(
            "Public address of the dashboard; http://<host>:<dashboard_port> by default, as this "
            "machine reaches it."
        ),
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description=(
            "Path below which a reverse proxy serves the API and the pages, such as /gradnoise."
        ),
    )
    proxies: list[Network] = Field(
        default_factory=list,
        description=(
            "Addresses or networks of the reverse proxies whose X-Forwarded headers are believed; "
            "a JSON list. With a proxy, loopback addresses require tokens too."
        ),
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Accepted Host names besides those of loopback; a JSON list.",
    )
    admin_token: SecretStr | None = Field(
        default=None, description="Token with every scope, for the first login to a cluster."
    )
    admin_token_file: Path | None = Field(
        default=None, description="File with the admin token, in place of GRADNOISE_ADMIN_TOKEN."
    )
    notify_urls: list[str] = Field(
        default_factory=list,
        description=(
            "URLs that studies may notify when they end, and all URLs below them; a JSON list."
        ),
    )
    notify_secret: SecretStr = Field(
        default=SecretStr(""),
        description=(
            "Secret that signs the messages: whsec_ and at least 24 bytes in base64; required with "
            "GRADNOISE_NOTIFY_URLS."
        ),
    )
    notify_networks: list[Network] = Field(
        default_factory=list,
        description=("Networks of addresses that are not public and may be notified; a JSON list."),
    )
    max_trials: int = Field(
        default=20_000,
        ge=2,
        description="Maximum number of trials of a study, over all arms and phases.",
    )
    allow_code: Literal["nobody", "submitters"] = Field(
        default="nobody",
        description=(
            "Who may send code for the workers to run: nobody, or submitters whose token has the "
            "scope `code`."
        ),
    )
    import_seconds: float = Field(
        default=120.0,
        gt=0,
        description="Seconds after which the import of a user's file is ended as an error.",
    )
    changed_code: Literal["refuse", "mark"] = Field(
        default="refuse",
        description=(
            "Whether a study that was interrupted waits if the installed code of its workload, "
            "optimizer or techniques has changed, or goes on and is marked in the report."
        ),
    )
    max_body_bytes: int = Field(
        default=1_000_000, ge=1_000, description="Maximum size of a request body, in bytes."
    )
    requests_per_minute: int = Field(
        default=600, ge=1, description="Maximum number of requests of a client per minute."
    )
    lease_seconds: int = Field(
        default=30,
        ge=2,
        description="Seconds until the lease of a dispatcher expires if it is not extended.",
    )
    concurrent_studies: int = Field(
        default=1,
        ge=1,
        le=64,
        description=(
            "Number of studies that a dispatcher runs at once; each core or GPU is shared equally."
        ),
    )
    slots: int = Field(
        default=0,
        ge=0,
        description=(
            "Number of trials that an actor trains as one model; 0 measures the best number."
        ),
    )
    checkpoints: str = Field(
        default="",
        description=(
            "Folder for checkpoints, shared by all nodes, or a URL of fsspec whose package is "
            "installed; `checkpoints` in the home folder by default."
        ),
    )
    checkpoint_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Minimum seconds between two checkpoints of a trial; 0 for every epoch.",
    )
    artifacts: str = Field(
        default="",
        description=(
            "Folder for the files that trials save, shared by all nodes and the API, or a URL of "
            "fsspec whose package is installed; `artifacts` in the home folder by default."
        ),
    )
    max_file_bytes: int = Field(
        default=100_000_000, ge=1, description="Maximum size of a file that a trial saves."
    )
    keep_days: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Days after the end of a study until its logs, files and checkpoints are removed; its "
            "trials, measurements and report stay. By default nothing is removed."
        ),
    )
    ray_address: str = Field(
        default="local",
        description="Address of the Ray cluster; `local` starts Ray on this machine.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Log format: text or one JSON object a line."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )

    @field_validator("home", "admin_token_file")
    @classmethod
    def _expand(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser()

    @model_validator(mode="after")
    def _messages_are_signed(self) -> Self:
        secret = self.notify_secret.get_secret_value()
        if self.notify_urls and not re.fullmatch(SECRET_PATTERN, secret):
            raise ValueError(
                "GRADNOISE_NOTIFY_URLS requires GRADNOISE_NOTIFY_SECRET: whsec_ and at least 24 "
                "bytes in base64"
            )
        return self

    @field_validator("admin_token_file")
    @classmethod
    def _is_readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no text"
                raise ValueError(f"the file cannot be read: {reason}") from None
        return path

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in effect, with its driver."""
        url = (
            self.database_url.get_secret_value()
            or f"sqlite:///{self.home.resolve() / 'gradnoise.db'}"
        )
        for short in ("postgresql://", "postgres://"):
            if url.startswith(short):
                return "postgresql+psycopg://" + url.removeprefix(short)
        return url

    @property
    def checkpoints_url(self) -> str:
        return self._url(self.checkpoints, "checkpoints")

    @property
    def artifacts_url(self) -> str:
        return self._url(self.artifacts, "artifacts")

    @property
    def bootstrap_token(self) -> str | None:
        if self.admin_token is not None:
            return self.admin_token.get_secret_value()
        return (
            self.admin_token_file.read_text(encoding="utf-8").strip()
            if self.admin_token_file is not None
            else None
        )

    def _url(self, given: str, name: str) -> str:
        if "://" in given:
            return given
        return str((Path(given).expanduser() if given else self.home / name).resolve())

    @property
    def is_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def local_host(self) -> str:
        """The host of URLs under which this machine reaches the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    @property
    def dashboard_url(self) -> str:
        return self.public_dashboard_url or f"http://{self.local_host}:{self.dashboard_port}"

    @property
    def keep(self) -> timedelta | None:
        return None if self.keep_days is None else timedelta(days=self.keep_days)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)


def read_settings() -> Settings:
    """Return the settings of the environment.

    The process ends with a sentence for each illegal value.
    """
    try:
        return Settings()
    except ValidationError as error:
        sys.exit("\n".join(("gradnoise: Invalid settings in the environment.", *faults_of(error))))


def faults_of(error: ValidationError) -> tuple[str, ...]:
    """Return a line for each fault of the settings; one of several shows no value of them."""
    return tuple(
        fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]
        else f"GRADNOISE_{'.'.join(map(str, fault['loc'])).upper()}={fault['input']!r}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    )
