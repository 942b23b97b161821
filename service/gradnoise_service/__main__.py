"""The command `gradnoise`; a library-only install gets a message about the missing extra."""

import importlib.util
import sys

REQUIRED = ("typer", "rich", "httpx2", "pydantic_settings")
"""Packages of the extra `service` that the command line imports."""


def main() -> None:
    """Run the command line, or exit with the install command if the service is not installed."""
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            "The command gradnoise requires the service, but these packages are not installed: "
            f"{', '.join(missing)}.\n"
            "Install them with: pip install 'gradnoise[service]'\n"
            "The library works without the command: import gradnoise."
        )
    from gradnoise_service.cli.app import app
    from gradnoise_service.streams import replace_unencodable

    replace_unencodable()
    app()


if __name__ == "__main__":
    main()
