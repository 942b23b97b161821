"""Commands for writing study files: presets as examples, and the reference of the fields."""

from pathlib import Path
from typing import Annotated

import typer

from gradnoise_service.cli import completion
from gradnoise_service.cli.options import Json, Row, Scale
from gradnoise_service.cli.preset_choice import load_preset

commands = typer.Typer()


@commands.command()
def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Print this preset as a study file.",
            show_default=False,
            autocompletion=completion.presets,
        ),
    ] = None,
    scale: Scale = "full",
    row: Row = None,
    json: Json = False,
) -> None:
    """List the presets, or print a preset as a study file."""
    from gradnoise_service import presets as library
    from gradnoise_service.study_text import dump_yaml
    from gradnoise_service.terminal.console import out, show_json
    from gradnoise_service.terminal.tables import show_table

    if name is None and json:
        listed = [
            {
                "name": preset,
                "description": library.describe(preset),
                "n_studies": len(library.load(preset)),
                "scales": library.scales(preset),
            }
            for preset in library.names()
        ]
        show_json(listed)
        return
    if name is None:
        rows = (
            (p, len(library.load(p)), " ".join(library.scales(p)), library.describe(p))
            for p in library.names()
        )
        show_table(("preset", "studies", "scales", "description"), rows)
        return
    studies = load_preset(name, scale, row, param_hint="NAME")
    if json:
        show_json(studies)
    else:
        is_table = library.find_table(name) is not None
        out.out(dump_yaml(*studies) if is_table else library.text(name), highlight=False, end="")


@commands.command("study-file")
def study_file(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Markdown file to write.")
    ] = None,
) -> None:
    """Print the reference of the study file: every field, its legal values and its default."""
    from gradnoise_service.domain.reference import reference
    from gradnoise_service.terminal.console import err, out

    if output is None:
        out.out(reference(), highlight=False, end="")
        return
    output.write_text(reference(), encoding="utf-8")
    err.print(f"Wrote {output}.")
