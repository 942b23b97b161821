"""Commands on API tokens."""

from enum import StrEnum
from typing import Annotated

import typer

from gradnoise_service.cli.errors import CommandGroup
from gradnoise_service.cli.options import Json, Token, Url

commands = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, help="Create, list and revoke API tokens."
)


class TokenScope(StrEnum):
    """The scopes as choices of an option; typer accepts no list of literals."""

    read = "read"
    submit = "submit"
    code = "code"
    metrics = "metrics"
    admin = "admin"


@commands.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Name of the token; unique.")],
    owner: Annotated[str, typer.Option(help="Owner of the studies submitted with the token.")],
    scope: Annotated[
        list[TokenScope] | None,
        typer.Option(help="What the token permits; repeatable.  [default: read submit]"),
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, help="Days until the token expires; 0 for never.")
    ] = 90,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Create a token and print it."""
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import err, out, show_json

    with connect(url, token) as client:
        created = client.create_token(
            name, owner=owner, scopes=scope or ("read", "submit"), days=days or None
        )
    if json:
        show_json(created)
    else:
        out.print(created["token"], markup=False)
        err.print("Store it now: it cannot be shown again.", style="dim")


@commands.command("list")
def list_tokens(url: Url = None, token: Token = None, json: Json = False) -> None:
    """List the tokens with owner, scopes and expiry; the tokens themselves are not shown."""
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.tables import show_table

    with connect(url, token) as client:
        tokens = client.tokens()
    if json:
        show_json(tokens)
    else:
        rows = ((t["name"], t["owner"], " ".join(t["scopes"]), t["expires_at"]) for t in tokens)
        show_table(("name", "owner", "scopes", "expires"), rows)


@commands.command("revoke")
def revoke_token(
    name: Annotated[str, typer.Argument(help="Name of the token.")],
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Delete a token; requests with it are refused from now on."""
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import out, show_json

    with connect(url, token) as client:
        client.revoke_token(name)
    if json:
        show_json({"revoked": name})
    else:
        out.print(f"Revoked {name}.", markup=False)
