"""The command that copies a study with changes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gradnoise_service.cli.options import DryRun, Json, StudyName, Token, Url, Watch

commands = typer.Typer()


@commands.command()
def clone(
    study: StudyName,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help=(
                "Change a field of the copy, such as confirm.n_seeds=40 or "
                "arms.noisy.space.eta=0.1; a value is YAML. Repeat it for several."
            ),
        ),
    ] = None,
    removed: Annotated[
        list[str] | None,
        typer.Option(
            "--unset",
            metavar="PATH",
            help=(
                "Remove a field from the copy, so that its default applies, such as search.pruner; "
                "or an arm, such as arms.noisy. Repeat it for several."
            ),
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the copy; by default the name with a number.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the copy to a study file, JSON if its name ends in .json, and submit "
            "nothing; - for the standard output.",
            dir_okay=False,
        ),
    ] = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Submit a study again, as a whole or with changes; the original stays as it is."""
    if watch and (dry_run or output is not None):
        raise typer.BadParameter(
            "nothing is submitted that could be followed", param_hint="--watch"
        )
    from gradnoise_service.cli import watching
    from gradnoise_service.client import changed
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.study import show_plan, show_submitted

    wanted = dict(map(_change, changes or ())) | ({"name": name} if name else {})
    with connect(url, token) as client:
        original = client.study(study)
        if output is not None:
            _write(changed(client.cloned(original.id), wanted, removed or ()), output)
            return
        copy = client.clone(original.id, wanted, removed=removed or (), dry_run=dry_run)
        if json:
            show_json(copy)
        elif dry_run:
            show_plan(copy)
        else:
            show_submitted(copy, client.base_url)
        if watch:
            raise typer.Exit(watching.watch(client, copy.id, as_json=json))


def _change(text: str) -> tuple[str, Any]:
    from gradnoise_service.study_text import MalformedStudyError, parse_yaml

    path, equals, value = text.partition("=")
    if not path or not equals:
        raise typer.BadParameter(f"{text!r} is not PATH=VALUE", param_hint="--set")
    try:
        return path, parse_yaml(f"value: {value}")["value"]
    except (MalformedStudyError, KeyError) as error:
        raise typer.BadParameter(f"{value!r} is not YAML: {error}", param_hint="--set") from None


def _write(values: dict[str, Any], output: Path) -> None:
    import json

    from gradnoise_service.study_text import dump_yaml
    from gradnoise_service.terminal.console import err, out

    is_json = output.suffix.lower() == ".json"
    text = json.dumps(values, indent=2) + "\n" if is_json else dump_yaml(values)
    if output == Path("-"):
        out.out(text, end="", highlight=False)
        return
    output.write_text(text, encoding="utf-8", newline="")
    err.print(f"Wrote {output}.")
