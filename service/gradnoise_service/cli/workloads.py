"""The command that lists what can be trained, and how."""

import typer

from gradnoise_service.cli.options import Json, Token, Url

commands = typer.Typer()


@commands.command()
def workloads(url: Url = None, token: Token = None, json: Json = False) -> None:
    """List workloads, techniques and optimizers with their options and parameters.

    Those of installed packages that cannot be used are listed with their error.
    """
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.workloads import show_workloads

    with connect(url, token) as client:
        announced = {
            "workloads": client.workloads(),
            "techniques": client.techniques(),
            "optimizers": client.optimizers(),
        }
        broken = client.broken()
    if json:
        show_json({**announced, "broken": broken})
    else:
        show_workloads(**announced, broken=broken)
