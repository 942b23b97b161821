"""Commands on results: reports, the verification of a study, the reproduction of the paper."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gradnoise_service.cli.options import Json, StudyName, StudyNames, Token, Url

commands = typer.Typer()


@commands.command()
def report(
    studies: StudyNames,
    format: Annotated[
        Literal["html", "md", "json", "csv", "tex", "svg", "png"] | None,
        typer.Option(
            help=(
                "By default the suffix of --output, else md; svg and png write every figure into "
                "the folder --output."
            )
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; a folder for svg and png, and for several studies.",
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print or write the reports of studies; an interim report while a study runs."""
    from gradnoise_service.cli import report_files
    from gradnoise_service.cli.several import for_each
    from gradnoise_service.client import Client, StudyInfo
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import err, out

    is_image, is_single = format in ("svg", "png"), len(studies) == 1
    if is_image and output is None:
        raise typer.BadParameter(f"{format} requires a folder", param_hint="--output")
    is_folder = output is not None and (output.is_dir() or is_image or not is_single)
    if output is not None and not is_folder and format is None:
        report_files.check_suffix(output, report_files.FORMATS)
    of_file = "md" if output is None or is_folder else output.suffix.lower().removeprefix(".")
    suffix = "json" if json else format or of_file

    written: set[Path] = set()

    def write(client: Client, study: StudyInfo) -> None:
        if output is not None and (format == "svg" or format == "png"):
            folder = output if is_single else output / study.name
            n_figures = report_files.write_figures(client, study.id, format, folder)
            err.print(f"Wrote {n_figures} figures into {folder}.")
            return
        text = client.report(study.id, report_files.FORMATS[suffix])
        if output is None:
            out.out(text, highlight=False)
            return
        file = output / f"{study.name}.{suffix}" if is_folder else output
        if file in written:  # of another owner
            file = output / f"{study.name} ({study.id}).{suffix}"
        written.add(file)
        if is_folder:
            output.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")
        err.print(f"Wrote {file}.")

    with connect(url, token) as client:
        for_each(client, studies, lambda study: write(client, study))


@commands.command()
def best(
    study: StudyName,
    format: Annotated[
        Literal["yaml", "json", "python"], typer.Option(help="The format of the file.")
    ] = "yaml",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write.", dir_okay=False),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print the settings that a study has chosen for each arm, as a file to train with."""
    from gradnoise_service.compare.facts.comparison import Comparison
    from gradnoise_service.local.connection import connect
    from gradnoise_service.report.chosen_settings import render
    from gradnoise_service.terminal.console import err, out

    with connect(url, token) as client:
        info = client.study(study)
        comparison = Comparison.model_validate_json(client.report(info.id))
    text = render(info.spec, comparison, "json" if json else format)
    if not comparison.is_final:
        err.print("The study has not ended: these are its settings so far.", style="dim")
    if output is None:
        out.out(text, end="", highlight=False)
    else:
        output.write_text(text, encoding="utf-8", newline="")
        err.print(f"Wrote {output}.")


@commands.command()
def verify(
    study: StudyName,
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            help=(
                "How many trials to train again: the first confirm run of each arm, then others "
                "that the study's seed draws."
            ),
        ),
    ] = 4,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Train some trials of a study again on this machine and compare every value."""
    from dataclasses import asdict

    from gradnoise_service.cli.errors import FAILED
    from gradnoise_service.local.connection import connect
    from gradnoise_service.local.verification import verify as verified
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.findings import show_finding

    with connect(url, token) as client:
        info = client.study(study)
        source = client.source(info.id) if info.spec.source is not None else None
        verification = verified(client, info, trials, source)
    if json:
        show_json(asdict(verification))
    else:
        for name, is_same, detail in verification.lines():
            show_finding(name, "ok" if is_same else "fail", detail, "")
    raise typer.Exit(0 if verification.is_identical else FAILED)


@commands.command()
def reproduction(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File to write; its pictures go into the folder pictures."
        ),
    ],
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Write the page that compares the paper's tables with our studies."""
    from gradnoise_service.local.connection import connect
    from gradnoise_service.reproduction.writing import write
    from gradnoise_service.terminal.console import err, show_json

    with connect(url, token) as client:
        n_rows, n_complete = write(client, output)
    if json:
        show_json({"file": str(output), "rows": n_rows, "ran": n_complete})
    else:
        err.print(f"Wrote {output}: {n_complete} of {n_rows} rows are complete.")
