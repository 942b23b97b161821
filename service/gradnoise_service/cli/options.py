"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from gradnoise_service.cli import completion


def _remember_json(context: typer.Context, value: bool) -> bool:
    """Keep the flag for the error handler, which prints errors as JSON too."""
    context.meta["json"] = value
    return value


Url = Annotated[
    str | None,
    typer.Option(
        envvar="GRADNOISE_URL",
        help="Address of the service; by default the service of the home folder.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="GRADNOISE_TOKEN",
        help="API token; not required for a service on this machine.",
        show_envvar=True,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", callback=_remember_json, is_eager=True, help="Print JSON.")
]
StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Id or name of the study.",
        show_default=False,
        autocompletion=completion.studies,
    ),
]
StudyNames = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY...",
        help="Ids or names of studies, one or several.",
        show_default=False,
        autocompletion=completion.studies,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show plan, cost, power and warnings, and store nothing.")
]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the study until it ends.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--key", help="Idempotency key: a repeated request with the same key has no effect."
    ),
]
Scale = Annotated[
    str, typer.Option(help="Scale of a paper table; `gradnoise presets` lists the scales.")
]
Row = Annotated[
    str | None, typer.Option(help="Row of a paper table; all rows by default.", show_default=False)
]
Home = Annotated[
    Path | None,
    typer.Option(
        help="Folder of database, logs and reports.  [default: .gradnoise]", show_default=False
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Port of the API and the pages.  [default: 8000]", show_default=False
    ),
]
DashboardPort = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Port of the Optuna Dashboard.  [default: 8001]", show_default=False
    ),
]
