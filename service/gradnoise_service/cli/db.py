"""Commands on the database."""

from pathlib import Path
from typing import Annotated

import typer

from gradnoise_service.cli.errors import CommandGroup
from gradnoise_service.cli.options import Home, Json

commands = typer.Typer(cls=CommandGroup, no_args_is_help=True, help="Maintain the database.")


@commands.command("upgrade")
def upgrade(home: Home = None, json: Json = False) -> None:
    """Create or upgrade the tables of the database; safe to run at any time."""
    from gradnoise_service import logs
    from gradnoise_service.local import database
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.terminal.console import out, show_json

    settings = read_settings(home=home)
    logs.configure(settings, "db upgrade")
    revision = database.upgrade(settings)
    if json:
        show_json({"revision": revision})
    else:
        out.print(f"The database has schema {revision}.")


@commands.command("prune")
def prune(
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Days since the end of a study; by default GRADNOISE_KEEP_DAYS.",
            show_default=False,
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Delete the studies, with trials and reports.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the studies, and remove nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without confirmation.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Remove logs, files and checkpoints of studies that ended some days ago.

    Their trials, measurements and reports stay. Studies that are queued or run are not touched. On
    a terminal it asks for confirmation; elsewhere --yes is required.
    """
    from datetime import UTC, datetime

    from gradnoise_service import logs
    from gradnoise_service.local import database
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.report.words.numbers import count
    from gradnoise_service.terminal.console import err, is_interactive, out, show_json

    settings, now = read_settings(home=home), datetime.now(UTC)
    logs.configure(settings, "db prune")
    before = database.cutoff(settings, days, now)
    if before is None:
        raise typer.BadParameter("required without GRADNOISE_KEEP_DAYS", param_hint="--days")
    if not (yes or dry_run or is_interactive()):
        raise typer.BadParameter("nothing was removed: confirm with --yes", param_hint="--yes")
    old = database.old_studies(settings, before, whole=whole)
    what = "all" if whole else "logs, files and checkpoints"
    if old and not (yes or dry_run):
        typer.confirm(f"Remove {what} of {count(len(old), 'study')}?", abort=True)
    found = old if dry_run or not old else database.prune(settings, before, now, whole=whole)
    if json:
        show_json([{"id": study.id, "name": study.spec.name} for study in found])
        return
    verb = "Would remove" if dry_run else "Removed"
    for study in found:
        out.print(f"{verb} {what} of {study.spec.name} (id {study.id}, {study.owner}).")
    if not found:
        err.print("No study has ended so long ago that anything is left of it.", style="dim")


@commands.command("backup")
def back_up(
    file: Annotated[Path, typer.Argument(help="File to write.", dir_okay=False)],
    home: Home = None,
    json: Json = False,
) -> None:
    """Write the database to a file, while the service may run; for SQLite and PostgreSQL.

    The files of GRADNOISE_ARTIFACTS and GRADNOISE_CHECKPOINTS are no part of it.
    """
    from datetime import UTC, datetime

    from gradnoise_service.local import database
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.terminal.console import err, show_json

    n_rows = database.back_up(read_settings(home=home), file, datetime.now(UTC))
    if json:
        show_json({"file": str(file), "rows": n_rows})
    else:
        err.print(f"Wrote {file}: {n_rows:,} rows.")


@commands.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="File that `gradnoise db backup` wrote.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Restore a backup into an empty database, SQLite or PostgreSQL, and upgrade its tables."""
    from gradnoise_service import logs
    from gradnoise_service.local import database
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.terminal.console import out, show_json

    settings = read_settings(home=home)
    logs.configure(settings, "db restore")
    n_rows = database.restore(settings, file)
    if json:
        show_json({"file": str(file), "rows": n_rows})
    else:
        out.print(f"Restored {n_rows:,} rows from {file}.")
