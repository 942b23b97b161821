"""The command `gradnoise`; says what to install where only the library is installed."""

import importlib.util
import sys

NEEDED = ("typer", "rich", "httpx2", "pydantic_settings")
"""Packages of the extra `service` that the command line imports."""


def main() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"The command gradnoise needs the service, and {', '.join(missing)} is not installed.\n"
            "Install it with: pip install 'gradnoise[service]'\n"
            "The library alone needs no command: import gradnoise."
        )
    from gradnoise_service import cli

    cli.main()


if __name__ == "__main__":
    main()
