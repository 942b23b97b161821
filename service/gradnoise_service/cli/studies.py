"""Commands on studies: submit, list, show, watch, extend."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gradnoise_service.cli import completion
from gradnoise_service.cli.options import (
    DryRun,
    IdempotencyKey,
    Json,
    Row,
    Scale,
    StudyNames,
    Token,
    Url,
    Watch,
)

commands = typer.Typer()


@commands.command()
def submit(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Study file, YAML or JSON; - reads the standard input.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Preset to submit in place of a file; skips existing studies of a table.",
            autocompletion=completion.presets,
        ),
    ] = None,
    scale: Scale = "full",
    row: Row = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the study, in place of the name in the file.")
    ] = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    key: IdempotencyKey = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Submit a study, or every study of a file or paper table."""
    if dry_run and watch:
        raise typer.BadParameter("a dry run cannot be followed", param_hint="--watch")
    if (file is None) == (preset is None):
        raise typer.BadParameter("give either FILE or --preset NAME", param_hint="FILE")
    if file and (row is not None or scale != "full"):
        raise typer.BadParameter(
            "only presets have scales and rows", param_hint="--scale" if row is None else "--row"
        )
    from gradnoise_service.cli import submission, watching
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.study import show_plan, show_submitted

    with connect(url, token) as client:
        specs = submission.load(client, file, preset, scale, row)
        if len(specs) > 1 and (name or key):
            raise typer.BadParameter(
                f"cannot apply to {len(specs)} studies", param_hint="--name" if name else "--key"
            )
        studies = []
        for study, is_new in submission.submit(
            client, specs, preset=preset, name=name, key=key, dry_run=dry_run
        ):
            studies.append(study)
            if json:
                continue
            if dry_run and is_new:
                show_plan(study)
            else:
                show_submitted(study, client.base_url, is_new=is_new)
        if json:
            show_json(studies if len(studies) > 1 else studies[0])
        if watch:
            codes = [watching.watch(client, study.id, as_json=json) for study in studies]
            raise typer.Exit(max(codes))


@commands.command("list")
def list_studies(
    state: Annotated[
        Literal[
            "queued", "running", "stopping", "pausing", "paused", "complete", "cancelled", "failed"
        ]
        | None,
        typer.Option(help="Only studies in this state."),
    ] = None,
    verdict: Annotated[
        Literal["helps", "hurts", "no_difference", "undecided"] | None,
        typer.Option(help="Only studies with this verdict."),
    ] = None,
    workload: Annotated[str | None, typer.Option(help="Only studies of this workload.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only studies of this owner.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only studies with this tag.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Only studies with this text in name, note or tags.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of studies.")] = 20,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List studies, newest first."""
    from itertools import islice

    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import err, show_json
    from gradnoise_service.terminal.study import show_studies

    with connect(url, token) as client:
        listed = client.studies(
            state, verdict=verdict, workload=workload, owner=owner, tag=tag, text=text
        )
        found = list(islice(listed, limit + 1))
    studies = found[:limit]
    if len(found) > limit:
        err.print(f"Only the newest {limit} are listed; --limit lists more.", style="dim")
    if json:
        show_json([study.model_dump(mode="json") for study in studies])
        return
    show_studies(studies)
    if not studies and any((state, verdict, workload, owner, tag, text)):
        err.print("No study matches.", style="dim")
    elif not studies:
        err.print("No studies. Submit the demo: `gradnoise submit --preset demo`.", style="dim")


@commands.command()
def show(studies: StudyNames, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Show studies: declaration, progress and outcome."""
    from gradnoise_service.cli.several import for_each
    from gradnoise_service.client import Client, StudyInfo
    from gradnoise_service.local.connection import connect
    from gradnoise_service.terminal.console import show_json
    from gradnoise_service.terminal.study import show_study

    def show_one(client: Client, study: StudyInfo) -> None:
        progress = client.progress(study.id)
        comparison = client.comparison(study.id) if study.state == "complete" else None
        if json:
            plain = study.model_dump(mode="json")
            show_json({"study": plain, "progress": progress, "comparison": comparison})
        else:
            show_study(study, progress, comparison, client.base_url)

    with connect(url, token) as client:
        for_each(client, studies, lambda study: show_one(client, study))


@commands.command()
def watch(studies: StudyNames, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Follow studies, one after another, until they end.

    The exit code is 0 if all are complete, 1 if one failed or was cancelled.
    """
    from gradnoise_service.cli import watching
    from gradnoise_service.local.connection import connect

    with connect(url, token) as client:
        ids = [client.study(study).id for study in studies]
        raise typer.Exit(max(watching.watch(client, study_id, as_json=json) for study_id in ids))


@commands.command()
def extend(
    studies: StudyNames,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of further confirm seeds; each arm runs once on each seed.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs by which each confirm run is trained on, in place of further seeds.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Extend without confirmation on a terminal.")
    ] = False,
    accept_changed_code: Annotated[
        bool,
        typer.Option(
            "--accept-changed-code",
            help="Extend although the installed code has changed; the report then says so.",
        ),
    ] = False,
    watch: Watch = False,
    key: IdempotencyKey = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Add confirm seeds to complete studies, or epochs to their confirm runs, for new verdicts.

    Prints the error probability over all verdicts first, and on a terminal asks for confirmation.
    """
    from gradnoise_service.cli import watching
    from gradnoise_service.cli.several import for_each
    from gradnoise_service.client import Client, StudyInfo
    from gradnoise_service.domain.design import Design
    from gradnoise_service.local.connection import connect
    from gradnoise_service.report.words.anytime import extension_cost, lengthening_cost
    from gradnoise_service.terminal.console import is_interactive, out, show_json

    if key and len(studies) > 1:
        raise typer.BadParameter(f"cannot apply to {len(studies)} studies", param_hint="--key")
    if (seeds is None) == (epochs is None):
        raise typer.BadParameter("give either --seeds or --epochs", param_hint="--seeds")

    def length(study: StudyInfo) -> int:
        return Design.of(study.spec, study.extensions).epochs("confirm")

    def extend_one(client: Client, study: StudyInfo) -> None:
        if not json:
            planned = client.extend(
                study.id,
                seeds,
                epochs=epochs,
                dry_run=True,
                accept_changed_code=accept_changed_code,
                idempotency_key=key,
            )
            chance = planned.false_verdict_chance
            out.print(
                lengthening_cost(length(planned), chance)
                if epochs
                else extension_cost(planned.n_seeds, chance)
            )
            if is_interactive() and not yes:
                typer.confirm(f"Extend the study {study.name}?", abort=True)
        extended = client.extend(
            study.id,
            seeds,
            epochs=epochs,
            accept_changed_code=accept_changed_code,
            idempotency_key=key,
        )
        if json:
            show_json(extended)
        else:
            more = (
                f"{length(extended)} epochs of each run" if epochs else f"{extended.n_seeds} seeds"
            )
            out.print(
                f"Study {study.name} (id {study.id}) is {extended.state} again, now with {more}."
            )

    with connect(url, token) as client:
        for_each(client, studies, lambda study: extend_one(client, study))
        if watch:
            ids = [client.study(study).id for study in studies]
            raise typer.Exit(max(watching.watch(client, one, as_json=json) for one in ids))
