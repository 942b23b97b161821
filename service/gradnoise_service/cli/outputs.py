"""Commands on what trials leave: their logs, their files."""

from pathlib import Path
from typing import Annotated

import typer

from gradnoise_service.cli.options import Json, StudyName, Token, Url

commands = typer.Typer()

TrialName = Annotated[
    str | None,
    typer.Argument(
        metavar="[TRIAL]",
        help="Id of a trial, or PHASE/ARM/NUMBER, such as search/noisy/3; all by default.",
        show_default=False,
    ),
]


@commands.command()
def logs(
    study: StudyName,
    trial: TrialName = None,
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


@commands.command("files")
def list_files(
    study: StudyName,
    trial: TrialName = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder to download them into, with a subfolder for each trial.",
            file_okay=False,
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List or download the files that the trials of a study, or one of them, have saved."""
    from dataclasses import asdict

    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import err, show_json
    from gradnoise_service.terminal.tables import show_table

    with connect(url, token) as client:
        study_id = client.study(study).id
        trial_id = None if trial is None else client.trial(study_id, trial).id
        found = client.files(study_id, trial_id)
        if output is not None:
            for file in found:
                folder = output / file.trial
                folder.mkdir(parents=True, exist_ok=True)
                client.download(study_id, file, folder / file.name)
                err.print(f"Wrote {folder / file.name}.")
    if json:
        show_json([asdict(file) for file in found])
    elif not found:
        err.print("No file was saved.", style="dim")
    elif output is None:
        rows = [[file.trial, file.name, file.n_bytes, file.sha256] for file in found]
        show_table(["trial", "file", "bytes", "sha256"], rows)
