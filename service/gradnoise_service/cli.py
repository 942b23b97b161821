"""The command `gradnoise`: runs the service on this machine, and speaks to one that runs anywhere.

Exit codes: 0 done; 1 failed, or refused by the service; 2 the command line, a setting or a file is
    wrong; 3 no service answers;
130 interrupted.
Each command imports what it needs when it runs, so that `gradnoise --help` answers at once.
"""

import importlib.metadata
import json as jsonlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

FAILED, WRONG, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


class Scope(StrEnum):
    """What a token may do."""

    read = "read"
    submit = "submit"
    admin = "admin"


class Commands(TyperGroup):
    """Commands whose known errors end in one readable block and the exit code that belongs to them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            code = _explain(error, as_json=ctx.meta.get("json", False))
            if code is None:
                raise
            raise typer.Exit(code) from None


def _explain(error: Exception, *, as_json: bool) -> int | None:
    """Print a known error and return its exit code; None for one that is a mistake of ours."""
    from gradnoise_service import terminal
    from gradnoise_service.client import ApiError, ClientError, UnreachableError
    from gradnoise_service.local import NotReadyError, SettingsError
    from gradnoise_service.ports import PortTakenError
    from gradnoise_service.study_file import MalformedStudyError
    from gradnoise_service.supervisor import AlreadyRunningError, SupervisorError

    match error:
        case ApiError(status=401):
            code, shown = (
                FAILED,
                terminal.complaint(
                    f"{error.title}: {error.detail}", "Give it with --token or GRADNOISE_TOKEN."
                ),
            )
        case ApiError():
            code, shown = FAILED, terminal.problem(error)
        case UnreachableError():
            hint = (
                "Start one here with `gradnoise up`, or name another with --url or GRADNOISE_URL."
            )
            code, shown = UNREACHABLE, terminal.complaint(str(error), hint)
        case ClientError():
            code, shown = FAILED, terminal.complaint(str(error))
        case MalformedStudyError():
            code, shown = WRONG, terminal.complaint(str(error))
        case SettingsError():
            code, shown = WRONG, terminal.complaint(str(error), *error.faults)
        case PortTakenError():
            hint = "End that process, or choose other ports with --port and --dashboard-port."
            code, shown = FAILED, terminal.complaint(str(error), hint)
        case AlreadyRunningError():
            code, shown = (
                FAILED,
                terminal.complaint(
                    str(error),
                    "Use it as it is, stop it first, or name another folder with --home.",
                ),
            )
        case SupervisorError():
            log_file = f"All of it: {error.log_file}" if error.log_file else ""
            code, shown = (
                FAILED,
                terminal.complaint(
                    str(error), *(f"| {line}" for line in error.last_lines), log_file
                ),
            )
        case NotReadyError():
            code, shown = (
                FAILED,
                terminal.complaint(str(error), *error.missing, f"Logs: {error.log_folder}"),
            )
        case OSError(filename=str() as filename):
            code, shown = WRONG, terminal.complaint(f"{filename}: {(error.strerror or '').lower()}")
        case _:
            return None
    if as_json:
        problem = (
            error.problem
            if isinstance(error, ApiError)
            else {"title": type(error).__name__, "detail": str(error)}
        )
        terminal.err.print(jsonlib.dumps(problem), markup=False)
    else:
        terminal.err.print(shown, soft_wrap=not terminal.err.is_terminal)
    return code


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Does annealed gradient noise help your model, at which settings, and by how much?",
)
token_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API tokens.")
db_app = typer.Typer(no_args_is_help=True, help="Look after the database.")
app.add_typer(token_app, name="token")
app.add_typer(db_app, name="db")


def _remember_json(context: typer.Context, value: bool) -> bool:
    context.meta["json"] = value
    return value


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"gradnoise {importlib.metadata.version('gradnoise')}")
        raise typer.Exit


Url = Annotated[
    str | None,
    typer.Option(
        envvar="GRADNOISE_URL", help="Where the service is; by default the one started here."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="GRADNOISE_TOKEN",
        help="API token; none is needed on this machine.",
        show_envvar=True,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", callback=_remember_json, is_eager=True, help="Print JSON.")
]
Study = Annotated[
    str, typer.Argument(metavar="STUDY", help="Id or name of the study.", show_default=False)
]
Home = Annotated[
    Path | None,
    typer.Option(
        help="Folder of database, logs and reports.  [default: .gradnoise]", show_default=False
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Port of the API and the pages.  [default: 8000]", show_default=False
    ),
]
Scale = Annotated[
    str, typer.Option(help="Scale of a preset that is a table; `gradnoise presets` lists them.")
]
Row = Annotated[
    str | None, typer.Option(help="Only this row of a preset that is a table.", show_default=False)
]
DashboardPort = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Port of the Optuna Dashboard.  [default: 8001]", show_default=False
    ),
]


@app.callback()
def gradnoise(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Does annealed gradient noise help your model, at which settings, and by how much?"""


@app.command()
def up(
    home: Home = None, port: Port = None, dashboard_port: DashboardPort = None, json: Json = False
) -> None:
    """Run the service on this machine until Ctrl-C."""
    from gradnoise_service import local

    changes = {"log_format": "json"} if json else {}
    local.up(
        local.read_settings(home=home, port=port, dashboard_port=dashboard_port, **changes),
        as_json=json,
    )


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")
    ] = False,
    preset: Annotated[str, typer.Option(help="The preset to run.")] = "demo",
    home: Home = None,
    port: Port = None,
    json: Json = False,
) -> None:
    """See the service do its job: start it, run a preset study, show the verdict, stop it."""
    from gradnoise_service import local
    from gradnoise_service import presets as ready

    studies = _preset(preset, hint="--preset")
    if ready.table(preset):
        hint = (
            f"run `gradnoise up`, then `gradnoise submit --preset {preset} --scale "
            f"{ready.scales(preset)[0]} --watch`"
        )
        raise typer.BadParameter(
            f"{preset!r} is a table of {len(studies)} studies: {hint}", param_hint="--preset"
        )
    study = local.demo(local.read_settings(home=home, port=port), preset, keep=keep, as_json=json)
    raise typer.Exit(0 if study.state == "complete" else FAILED)


@app.command()
def submit(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            exists=True,
            dir_okay=False,
            readable=True,
            help="The study, YAML or JSON.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Submit this preset instead of a file; of a table every study."),
    ] = None,
    scale: Scale = "full",
    row: Row = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the study, instead of the one it has.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the study to its end.")] = False,
    key: Annotated[
        str | None,
        typer.Option(help="Idempotency key: the same study with the same key is submitted once."),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Submit a study, or every study of a table or a file; those of a table that are there already
    are not submitted again.
    """
    if (file is None) == (preset is None):
        raise typer.BadParameter("give a FILE or --preset NAME, one of the two", param_hint="FILE")
    if file and (row is not None or scale != "full"):
        raise typer.BadParameter(
            "a study file has neither scales nor rows, a preset has",
            param_hint="--scale" if row is None else "--row",
        )
    from gradnoise_service import local, terminal
    from gradnoise_service.client import read_studies

    with local.connect(url, token) as client:
        specs = read_studies(file) if file else client.preset(str(preset), scale, row)
        if len(specs) > 1 and (name or key):
            raise typer.BadParameter(
                f"these are {len(specs)} studies, each with a name of its own",
                param_hint="--name" if name else "--key",
            )
        studies = []
        for spec in specs:
            named = spec | ({"name": name} if name else {})
            if file or key:
                study, is_new = client.submit(named, idempotency_key=key), True
            elif spec["name"] == preset:
                study, is_new = client.submit_preset(spec["name"], name), True
            else:
                study, is_new = client.submit_once(named)
            studies.append(study)
            if not json:
                terminal.submitted(study, client.base_url, is_new=is_new)
        if json:
            terminal.show_json(studies if len(studies) > 1 else studies[0])
        if watch:
            raise typer.Exit(
                max(terminal.watch(client, study.id, as_json=json) for study in studies)
            )


@app.command("list")
def list_studies(
    state: Annotated[
        Literal["queued", "running", "complete", "cancelled", "failed"] | None,
        typer.Option(help="Only these."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most studies to list.")] = 20,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """List studies, newest first."""
    from itertools import islice

    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        studies = list(islice(client.studies(state), limit))
    if json:
        terminal.show_json([study.model_dump(mode="json") for study in studies])
        return
    rows = (
        (s.id, s.name, s.state, s.verdict, s.workload, s.owner, terminal.moment(s.created_at))
        for s in studies
    )
    terminal.table(("id", "name", "state", "verdict", "workload", "owner", "submitted"), rows)
    if not studies:
        terminal.err.print(
            "There is no study yet: `gradnoise submit --preset demo` submits one.", style="dim"
        )


@app.command()
def show(study: Study, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Show a study: what it asks, how far it is, what came out."""
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        info = client.study(study)
        progress = client.progress(info.id)
        comparison = client.comparison(info.id) if info.state == "complete" else None
        if json:
            terminal.show_json(
                {
                    "study": info.model_dump(mode="json"),
                    "progress": progress,
                    "comparison": comparison,
                }
            )
        else:
            terminal.study(info, progress, comparison, client.base_url)


@app.command()
def watch(study: Study, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Follow a study to its end: exit code 0 when it is complete, 1 when it failed or was
    cancelled.
    """
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        raise typer.Exit(terminal.watch(client, client.study(study).id, as_json=json))


@app.command()
def cancel(study: Study, url: Url = None, token: Token = None, json: Json = False) -> None:
    """End a study now; what its trials have measured stays."""
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        info = client.cancel(client.study(study).id)
    if json:
        terminal.show_json(info)
    else:
        terminal.out.print(f"Study {info.name} (id {info.id}) is {info.state}.")


@app.command()
def extend(
    study: Study,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many more confirm seeds; each arm runs once on each.",
            show_default=False,
        ),
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Follow the study to its end.")] = False,
    key: Annotated[
        str | None,
        typer.Option(help="Idempotency key: the same extension with the same key is made once."),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Give a complete study more confirm seeds; nothing runs twice, and its verdict is given anew."""
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        info = client.extend(client.study(study).id, seeds, idempotency_key=key)
        if json:
            terminal.show_json(info)
        else:
            terminal.out.print(
                f"Study {info.name} (id {info.id}) is {info.state} again, now for "
                f"{info.spec.confirm.n_seeds} seeds."
            )
        if watch:
            raise typer.Exit(terminal.watch(client, info.id, as_json=json))


@app.command()
def report(
    study: Study,
    format: Annotated[
        Literal["html", "md", "json", "csv", "tex", "svg", "png"] | None,
        typer.Option(
            help=(
                "By default what --output's name ends in, else md; svg and png write every figure "
                "into the folder --output."
            )
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write, instead of printing; a folder for figures."
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print or write a study's report; while it runs, an interim one."""
    from gradnoise_service import local, terminal

    if format == "svg" or format == "png":
        if output is None:
            raise typer.BadParameter(
                f"{format} needs the folder to write the figures into", param_hint="--output"
            )
        with local.connect(url, token) as client:
            images = client.figures(client.study(study).id, format)
        output.mkdir(parents=True, exist_ok=True)
        for name, image in images.items():
            (output / f"{name}.{format}").write_bytes(image)
        terminal.err.print(f"Wrote {len(images)} figures into {output}.")
        return
    wanted = (
        "json" if json else format or (output.suffix.lower().removeprefix(".") if output else "md")
    )
    kind = wanted if wanted in ("html", "json", "csv", "tex") else "markdown"
    with local.connect(url, token) as client:
        # one of the formats
        text = client.report(client.study(study).id, kind)  # type: ignore[arg-type]
    if output is None:
        terminal.out.out(text, highlight=False)
        return
    output.write_text(text, encoding="utf-8", newline="")
    terminal.err.print(f"Wrote {output}.")


@app.command()
def reproduction(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write; its pictures go into the folder pictures beside it.",
        ),
    ],
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Write the page that holds the paper's tables against the complete studies of the presets
    `paper-...`.
    """
    from gradnoise_service import local, terminal
    from gradnoise_service.reproduction import write

    with local.connect(url, token) as client:
        n_rows, n_ran = write(client, output)
    if json:
        terminal.show_json({"file": str(output), "rows": n_rows, "ran": n_ran})
    else:
        terminal.err.print(f"Wrote {output}: {n_ran} of {n_rows} rows have run.")


@app.command()
def workloads(url: Url = None, token: Token = None, json: Json = False) -> None:
    """List what can be trained, and what an arm can do to training."""
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        catalogue = {
            "workloads": client.workloads(),
            "techniques": client.techniques(),
            "optimizers": client.optimizers(),
        }
    if json:
        terminal.show_json(catalogue)
    else:
        terminal.catalogue(**catalogue)


@app.command()
def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Print this preset as a study file.", show_default=False
        ),
    ] = None,
    scale: Scale = "full",
    row: Row = None,
    json: Json = False,
) -> None:
    """List the ready studies, or print one as a file to start from; of a table all of its studies,
    with --- between them.
    """
    from gradnoise_service import presets as ready
    from gradnoise_service import terminal

    studies = [] if name is None else _preset(name, scale, row)
    if name is None and json:
        listed = [
            {
                "name": one,
                "description": ready.describe(one),
                "n_studies": len(ready.load(one)),
                "scales": ready.scales(one),
            }
            for one in ready.names()
        ]
        terminal.show_json(listed)
    elif name is None:
        rows = (
            (one, len(ready.load(one)), " ".join(ready.scales(one)), ready.describe(one))
            for one in ready.names()
        )
        terminal.table(("preset", "studies", "scales", "asks"), rows)
    elif json:
        terminal.show_json(studies)
    else:
        shown = terminal.studies_as_yaml(studies) if ready.table(name) else ready.text(name)
        terminal.out.out(shown, highlight=False, end="")


def _preset(
    name: str, scale: str = "full", row: str | None = None, hint: str = "NAME"
) -> list[dict[str, Any]]:
    """Return the studies of a preset; refuse one that is not there, and a scale or row that it does
    not have.
    """
    from gradnoise_service import presets as ready
    from gradnoise_service.domain.errors import InvalidSpecError

    try:
        return ready.load(name, scale, row)
    except KeyError as error:
        raise typer.BadParameter(error.args[0], param_hint=hint) from None
    except InvalidSpecError as error:
        [fault] = error.errors
        raise typer.BadParameter(
            f"{fault.message} as {fault.value!r}; legal is {fault.legal}",
            param_hint=f"--{fault.field}",
        ) from None


@app.command()
def doctor(url: Url = None, token: Token = None, json: Json = False) -> None:
    """Look at everything the service needs, and say what to do about what is not there."""
    from dataclasses import asdict

    from gradnoise_service import local, terminal
    from gradnoise_service.doctor import examine

    settings = local.read_settings()
    findings = []
    for finding in examine(settings, url or local.address(settings), token):
        findings.append(finding)
        if not json:
            terminal.finding(finding.name, finding.state, finding.detail, finding.hint)
    if json:
        terminal.show_json([asdict(finding) for finding in findings])
    raise typer.Exit(FAILED if any(finding.state == "fail" for finding in findings) else 0)


@token_app.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="What the token is for; unique.")],
    owner: Annotated[str, typer.Option(help="Whose studies it submits and sees.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeat it.  [default: read submit]")
    ] = None,
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0 for never.")] = 90,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Make a token and show it, this one time."""
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        made = client.create_token(
            name, owner=owner, scopes=scope or ("read", "submit"), days=days or None
        )
    if json:
        terminal.show_json(made)
    else:
        terminal.out.print(made["token"], markup=False)
        terminal.err.print("Keep it now: it is not shown again.", style="dim")


@token_app.command("list")
def list_tokens(url: Url = None, token: Token = None, json: Json = False) -> None:
    """List the tokens, without showing them."""
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        tokens = client.tokens()
    if json:
        terminal.show_json(tokens)
    else:
        rows = (
            (one["name"], one["owner"], " ".join(one["scopes"]), one["expires_at"])
            for one in tokens
        )
        terminal.table(("name", "owner", "scopes", "expires"), rows)


@token_app.command("revoke")
def revoke_token(
    name: Annotated[str, typer.Argument(help="The token's name.")],
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Delete a token: whoever uses it is refused from now on."""
    from gradnoise_service import local, terminal

    with local.connect(url, token) as client:
        client.revoke_token(name)
    if json:
        terminal.show_json({"revoked": name})
    else:
        terminal.out.print(f"Revoked {name}.", markup=False)


@db_app.command("upgrade")
def upgrade_database(home: Home = None, json: Json = False) -> None:
    """Create the database's tables, or bring them up to date; safe to run at any time."""
    from gradnoise_service import local, logs, terminal
    from gradnoise_service.migrate import prepare_database
    from gradnoise_service.store import migrate

    settings = local.read_settings(home=home)
    logs.configure(settings, "db upgrade")
    prepare_database(settings.database)
    if json:
        terminal.show_json({"revision": migrate.head()})
    else:
        terminal.out.print(f"The database is at schema {migrate.head()}.")


def main() -> None:
    app()
