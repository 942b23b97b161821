"""Commands for a file of the user's own: run its study, check it, write one to start from."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gradnoise_service.cli.errors import FAILED
from gradnoise_service.cli.options import Home, Json, Port, StudyName, Token, Url

commands = typer.Typer()

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py[:NAME]",
        help="File with a decorated function or a workload; NAME if it declares several.",
        show_default=False,
    ),
]
StudyFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[STUDY.yaml]",
        exists=True,
        dir_okay=False,
        help="Study file, YAML or JSON, whose fields the options replace.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUES",
        help="A parameter of every arm: lr=1e-3..1e-1:log, width=16..64:int, momentum=0.9.",
    ),
]
Option = Annotated[
    list[str],
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the workload."),
]
Arms = Annotated[
    list[str],
    typer.Option(
        "--arm",
        metavar="'NAME:TECHNIQUE [NAME=VALUES ...]'",
        help=(
            "An arm beside the baseline: noisy:annealed (the paper's eta), noisy:wide (eta from "
            "1e-4 to 1), or any technique with its parameters."
        ),
    ),
]
Optimizer = Annotated[str | None, typer.Option(help="The optimizer.  [default: sgd]")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs of each trial.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials of each search of an arm.")]
Seeds = Annotated[int | None, typer.Option(min=2, help="Seeds of the final comparison.")]
Difference = Annotated[
    float | None,
    typer.Option(
        "--smallest-difference",
        min=0.0,
        help="The smallest difference that matters, in units of the metric.",
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Every seed derives from it.")]
Name = Annotated[str | None, typer.Option(help="Name of the study; that of the file by default.")]


@commands.command()
def run(
    file: File,
    study: StudyFile = None,
    set_: Set = [],  # noqa: B006 - typer reads the default
    option: Option = [],  # noqa: B006
    arm: Arms = [],  # noqa: B006
    optimizer: Optimizer = None,
    epochs: Epochs = None,
    trials: Trials = None,
    seeds: Seeds = None,
    smallest_difference: Difference = None,
    seed: Seed = None,
    name: Name = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep a service that was started running until Ctrl-C.")
    ] = False,
    home: Home = None,
    port: Port = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="A service on another machine that allows code; by default that of this machine.",
            show_default=False,
        ),
    ] = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Ask whether the noise helps the training in FILE.py, and show the verdict.

    Uses the service of the home folder if it runs, else starts one until the study has ended.
    """
    from gradnoise_service.local.connection import read_settings
    from gradnoise_service.local.file_run import run as run_study
    from gradnoise_service.local.file_study import FileStudy
    from gradnoise_service.local.study_options import StudyOptions

    options = StudyOptions(
        name=name,
        space=set_,
        options=option,
        arms=arm,
        optimizer=optimizer,
        epochs=epochs,
        trials=trials,
        seeds=seeds,
        smallest_difference=smallest_difference,
        seed=seed,
    )
    settings = read_settings(home=home, port=port)
    of_file = FileStudy(file, options, study)
    finished = run_study(settings, of_file, url, token, keep=keep, as_json=json)
    raise typer.Exit(0 if finished.state == "complete" else FAILED)


@commands.command()
def check(
    file: File,
    study: StudyFile = None,
    set_: Set = [],  # noqa: B006 - typer reads the default
    option: Option = [],  # noqa: B006
    arm: Arms = [],  # noqa: B006
    optimizer: Optimizer = None,
    json: Json = False,
) -> None:
    """Train a short trial of every arm of FILE.py here, and show what it measures and does.

    A trial trains for two epochs at the middle of the arm's space. Errors have their traceback.
    """
    from dataclasses import asdict

    from gradnoise_service.local.file_run import checked
    from gradnoise_service.local.file_study import FileStudy
    from gradnoise_service.local.study_options import StudyOptions
    from gradnoise_service.terminal.console import err, show_json
    from gradnoise_service.terminal.findings import show_finding

    options = StudyOptions(space=set_, options=option, arms=arm, optimizer=optimizer)
    found = checked(FileStudy(file, options, study))
    if json:
        show_json(asdict(found))
    else:
        for finding in found.findings():
            show_finding(finding.name, finding.state, finding.detail, finding.hint)
        if found.trace:
            err.print(found.trace, markup=False)
    raise typer.Exit(FAILED if found.error else 0)


@commands.command()
def source(
    study: StudyName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder to write the files to, in place of stdout.",
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show the code of a study of a user's file, as it is stored with the study."""
    from gradnoise_service.local.connection import connect
    from gradnoise_service.local.sources import write
    from gradnoise_service.terminal.console import out, show_json
    from gradnoise_service.terminal.source import show_source

    with connect(url, token) as client:
        stored = client.source(client.study(study).id)
    if output is not None:
        write(stored, output)
    if json:
        show_json({"name": stored.name, "hash": stored.hash, "files": dict(stored.files)})
    elif output is not None:
        out.print(f"Wrote {', '.join(stored.files)} to {output}.")
    else:
        show_source(stored)


@commands.command()
def new(
    kind: Annotated[
        Literal["workload", "function"],
        typer.Argument(help="A declared workload, or a training function."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; created if missing.")],
) -> None:
    """Write an example that runs at once: DIR/train.py."""
    from gradnoise_service.local.starters import write
    from gradnoise_service.terminal.console import out

    file = write(kind, folder)
    out.print(f"Wrote {file}. Next:\n  gradnoise check {file}\n  gradnoise run {file}")
