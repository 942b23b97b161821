"""Commands that run the service on this machine, and check the installation."""

from typing import Annotated

import typer

from gradnoise_service.cli import completion
from gradnoise_service.cli.errors import FAILED
from gradnoise_service.cli.options import DashboardPort, Home, Json, Port, Token, Url
from gradnoise_service.cli.preset_choice import load_preset

commands = typer.Typer()


@commands.command()
def up(
    home: Home = None, port: Port = None, dashboard_port: DashboardPort = None, json: Json = False
) -> None:
    """Run the service on this machine until Ctrl-C."""
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.local.up import up as run

    log_format = "json" if json else None
    settings = read_settings(
        home=home, port=port, dashboard_port=dashboard_port, log_format=log_format
    )
    run(settings, as_json=json)


@commands.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the service running until Ctrl-C.")
    ] = False,
    preset: Annotated[
        str, typer.Option(help="The preset to run.", autocompletion=completion.presets)
    ] = "demo",
    home: Home = None,
    port: Port = None,
    json: Json = False,
) -> None:
    """Start the service, run a preset study, show its verdict, and stop the service."""
    from gradnoise_service import presets
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.local.demo import demo as run

    studies = load_preset(preset, param_hint="--preset")
    scales = presets.scales(preset)
    if scales or len(studies) > 1:
        scale = f" --scale {scales[0]}" if scales else ""
        submit = f"gradnoise submit --preset {preset}{scale} --watch"
        raise typer.BadParameter(
            f"{preset!r} is not a single study: run `gradnoise up`, then `{submit}`",
            param_hint="--preset",
        )
    study = run(read_settings(home=home, port=port), preset, keep=keep, as_json=json)
    raise typer.Exit(0 if study.state == "complete" else FAILED)


@commands.command()
def doctor(url: Url = None, token: Token = None, json: Json = False) -> None:
    """Check the installation and suggest fixes."""
    from dataclasses import asdict

    from gradnoise_service.local.connection import read_settings, service_url
    from gradnoise_service.local.doctor import examine
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.findings import show_finding

    settings = read_settings()
    findings = []
    for finding in examine(settings, url or service_url(settings), token):
        findings.append(finding)
        if not json:
            show_finding(finding.name, finding.state, finding.detail, finding.hint)
    if json:
        show_json([asdict(finding) for finding in findings])
    raise typer.Exit(FAILED if any(finding.state == "fail" for finding in findings) else 0)
