"""The command that deletes studies."""

from typing import Annotated

import typer

from gradnoise_service.cli.options import Json, StudyNames, Token, Url

commands = typer.Typer()


@commands.command()
def delete(
    studies: StudyNames,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without confirmation.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Delete studies for good, with their trials, logs, files and Optuna studies.

    A study that runs is refused. On a terminal it asks for confirmation; elsewhere --yes is
    required.
    """
    from gradnoise_service.cli.several import for_each
    from gradnoise_service.client import Client, StudyInfo
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import is_interactive, out, show_json

    if not yes and not is_interactive():
        raise typer.BadParameter("nothing was deleted: confirm with --yes", param_hint="--yes")

    def delete_one(client: Client, study: StudyInfo) -> None:
        what = f"study {study.name} (id {study.id})"
        if not yes:
            typer.confirm(f"Delete the {what} with its trials, logs and files?", abort=True)
        client.delete(study.id)
        if json:
            show_json({"id": study.id, "name": study.name, "state": "deleted"})
        else:
            out.print(f"Deleted the {what}.")

    with connect(url, token) as client:
        for_each(client, studies, lambda study: delete_one(client, study))
