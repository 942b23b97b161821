"""Commands on the database."""

import typer

from gradnoise_service.cli.options import Home, Json

commands = typer.Typer(no_args_is_help=True, help="Maintain the database.")


@commands.command("upgrade")
def upgrade(home: Home = None, json: Json = False) -> None:
    """Create or upgrade the tables of the database; safe to run at any time."""
    from gradnoise_service import logs
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.local.errors import DatabaseError
    from gradnoise_service.prepare_database import prepare_database
    from gradnoise_service.store import migrate
    from gradnoise_service.terminal.console import out, show_json

    settings = read_settings(home=home)
    logs.configure(settings, "db upgrade")
    try:
        prepare_database(settings.database)
    except migrate.UnknownSchemaError as error:
        raise DatabaseError(str(error)) from None
    if json:
        show_json({"revision": migrate.head()})
    else:
        out.print(f"The database has schema {migrate.head()}.")
