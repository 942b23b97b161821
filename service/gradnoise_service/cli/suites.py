"""The command that lists suites, or shows the answer of one."""

from pathlib import Path
from typing import Annotated

import typer

from gradnoise_service.cli.options import Json, Token, Url

commands = typer.Typer()


@commands.command()
def suite(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show this suite.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the report: html, json or md by its suffix."),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="The suite's owner, for administrators if several have the name."),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List the suites, or show the answer of one over its studies."""
    if name is None and output is not None:
        raise typer.BadParameter("a report requires NAME", param_hint="--output")
    from gradnoise_service.cli import report_files
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import err, show_json
    from gradnoise_service.terminal.suite import show_suite, show_suites

    with connect(url, token) as client:
        if name is None:
            suites = client.suites()
            show_json(suites) if json else show_suites(suites)
            return
        if output is None:
            found = client.suite(name, owner=owner)
            show_json(found) if json else show_suite(found)
            return
        suffix = report_files.check_suffix(output, report_files.SUITE_FORMATS)
        text = client.suite_report(name, report_files.SUITE_FORMATS[suffix], owner=owner)
    output.write_text(text, encoding="utf-8", newline="")
    err.print(f"Wrote {output}.")
