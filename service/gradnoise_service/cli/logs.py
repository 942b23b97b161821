"""The command on what trials print."""

from typing import Annotated

import typer

from gradnoise_service.cli.options import Json, StudyName, Token, Url

commands = typer.Typer()


@commands.command()
def logs(
    study: StudyName,
    trial: Annotated[
        str | None,
        typer.Argument(
            metavar="[TRIAL]",
            help="Id of a trial, or PHASE/ARM/NUMBER, such as search/noisy/3; all by default.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the study has ended.")
    ] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print what the trials of a study, or one of them, have printed."""
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import err, show_json
    from gradnoise_service.terminal.log import LogPrinter

    with connect(url, token) as client:
        study_id = client.study(study).id
        trial_id = None if trial is None else client.trial(study_id, trial).id
        printer, is_empty = LogPrinter(with_names=trial is None), True
        for piece in client.log_pieces(study_id, trial_id, follow=follow):
            is_empty = False
            if json:
                show_json(piece)
            else:
                printer.show(piece)
        if is_empty and not json:
            err.print("Nothing was printed.", style="dim")
