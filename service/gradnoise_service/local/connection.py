"""Settings of the command line, and its connection to a service."""

from typing import Any

from pydantic import ValidationError

from gradnoise_service.client import Client
from gradnoise_service.local import running_service
from gradnoise_service.local.errors import SettingsError
from gradnoise_service.settings import Settings


def read_settings(**changes: Any) -> Settings:
    """Return the settings of the environment, overridden by the changes that are not None.

    Raises:
        SettingsError: If a value is illegal.
    """
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(error) from None


def service_url(settings: Settings) -> str:
    """Return the address of the service that runs from the home folder, or would run from it."""
    running = running_service.find(settings.home)
    return running.url if running else f"http://{settings.local_host}:{settings.port}"


def connect(url: str | None, token: str | None) -> Client:
    """Open a client to the service at `url`, by default to the service of the home folder."""
    return Client(url or service_url(read_settings()), token)
