"""The command `gradnoise`: runs the service on this machine, and is a client of any service.

Each command imports what it needs when it runs, so that `gradnoise --help` starts fast.
"""

from typing import Annotated

import typer

from gradnoise_service.cli import (
    cloning,
    db,
    deletion,
    files,
    local_service,
    outputs,
    presets,
    remarks,
    reports,
    studies,
    suites,
    tokens,
    verbs,
    workloads,
)
from gradnoise_service.cli.errors import CommandGroup

DESCRIPTION = "Does annealed gradient noise help your model, at which settings, and by how much?"

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=DESCRIPTION,
)
for group in (
    files,
    local_service,
    studies,
    cloning,
    deletion,
    remarks,
    verbs,
    outputs,
    reports,
    suites,
    workloads,
    presets,
):
    app.add_typer(group.commands)
app.add_typer(tokens.commands, name="token")
app.add_typer(db.commands, name="db")


def _show_version(value: bool) -> None:
    if value:
        import importlib.metadata

        typer.echo(f"gradnoise {importlib.metadata.version('gradnoise')}")
        raise typer.Exit


@app.callback()
def gradnoise(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Does annealed gradient noise help your model, at which settings, and by how much?"""
