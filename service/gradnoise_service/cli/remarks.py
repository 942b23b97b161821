"""The command on tags and notes of studies."""

from typing import Annotated

import typer

from gradnoise_service.cli.options import Json, StudyNames, Token, Url

commands = typer.Typer()


@commands.command()
def remark(
    studies: StudyNames,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Tag to add; repeat it for several.")
    ] = None,
    untag: Annotated[
        list[str] | None, typer.Option("--untag", help="Tag to remove; repeat it for several.")
    ] = None,
    note: Annotated[
        str | None, typer.Option(help="The note, in place of the present one; empty for none.")
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Change the tags or the note of studies, in any state; without an option, print them."""
    from gradnoise_service.cli.several import for_each
    from gradnoise_service.client import Client, StudyInfo
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.study import show_remarks

    def remark_one(client: Client, study: StudyInfo) -> None:
        if tag or untag or note is not None:
            tags = {*study.tags, *(tag or ())} - {*(untag or ())}
            study = client.remark(study.id, tags=sorted(tags), note=note)
        if json:
            show_json(study)
        else:
            show_remarks(study)

    with connect(url, token) as client:
        for_each(client, studies, lambda study: remark_one(client, study))
