"""The verbs on studies as commands: pause, resume, stop, cancel, retry, priority."""

from collections.abc import Sequence
from typing import Annotated

import typer

from gradnoise_service.cli.options import Json, StudyNames, Token, Url

commands = typer.Typer()


@commands.command()
def pause(studies: StudyNames, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Pause studies: their trials are checkpointed and their devices freed."""
    _act("pause", studies, url, token, json)


@commands.command()
def resume(studies: StudyNames, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Queue paused studies again; their trials continue from their checkpoints."""
    _act("resume", studies, url, token, json)


@commands.command()
def stop(
    studies: StudyNames,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Stop only the search, and confirm its settings.")
    ] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Finish what has started of studies and report on that; nothing else starts."""
    _act("stop", studies, url, token, json, confirm=confirm)


@commands.command()
def cancel(studies: StudyNames, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Cancel studies; their measurements are kept."""
    _act("cancel", studies, url, token, json)


@commands.command()
def retry(
    studies: StudyNames,
    accept_changed_code: Annotated[
        bool,
        typer.Option(
            "--accept-changed-code",
            help="Retry although the installed code has changed; the report then says so.",
        ),
    ] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Queue failed or complete studies again; the failed trials of the last phase run again."""
    _act("retry", studies, url, token, json, accept_changed_code=accept_changed_code)


@commands.command()
def priority(
    studies: StudyNames,
    to: Annotated[
        int,
        typer.Option(min=-100, max=100, help="The priority; higher starts first."),
    ],
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Change the priority of studies that are queued or paused."""
    _act("prioritize", studies, url, token, json, to)


def _act(
    verb: str,
    studies: Sequence[str],
    url: str | None,
    token: str | None,
    json: bool,
    *arguments: int,
    **options: bool,
) -> None:
    """Call a method of the client with each study and print the state that follows."""
    from gradnoise_service.cli.several import for_each
    from gradnoise_service.client import Client, StudyInfo
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import out, show_json

    def act(client: Client, study: StudyInfo) -> None:
        changed: StudyInfo = getattr(client, verb)(study.id, *arguments, **options)
        if json:
            show_json(changed)
            return
        priority = f", with priority {changed.priority}" if verb == "prioritize" else ""
        out.print(f"Study {study.name} (id {study.id}) is {changed.state}{priority}.")

    with connect(url, token) as client:
        for_each(client, studies, lambda study: act(client, study))
