"""The service on this machine, as the command line runs it: until Ctrl-C, or for one demonstration."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.text import Text

from gradnoise_service import ports, terminal
from gradnoise_service.client import Client, StudyInfo, UnreachableError
from gradnoise_service.ports import PortTakenError
from gradnoise_service.settings import Settings
from gradnoise_service.supervisor import Supervisor, running

READY_SECONDS = 90
POLL_SECONDS = 0.5
NAME_STYLES = {"api": "cyan", "dashboard": "magenta", "workers": "green"}


class SettingsError(Exception):
    """A `GRADNOISE_*` variable has a value that is not legal; `faults` has one line for each."""

    def __init__(self, error: ValidationError) -> None:
        self.faults = [
            f"GRADNOISE_{'.'.join(map(str, fault['loc'])).upper()}={fault['input']!r}: "
            f"{fault['msg']}"
            for fault in error.errors()
        ]
        super().__init__("The settings in the environment are wrong.")


class NotReadyError(Exception):
    """The service did not become ready in time; `missing` says what it still lacks."""

    def __init__(self, missing: list[str], log_folder: Path) -> None:
        self.missing = missing
        self.log_folder = log_folder
        super().__init__(f"The service was not ready after {READY_SECONDS} s.")


def read_settings(**changes: Any) -> Settings:
    """Return the settings of the environment with those of the command line over them; None changes
    nothing.

    Raises:
        SettingsError: If a value is not legal.
    """
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(error) from None


def address(settings: Settings) -> str:
    """Return the address of the service that runs from the home folder, else the one it would have."""
    known = running(settings.home) or {}
    return str(known.get("url") or f"http://127.0.0.1:{settings.port}")


def connect(url: str | None, token: str | None) -> Client:
    """Open a client to the service at `url`, by default the one that runs from the home folder."""
    return Client(url or address(read_settings()), token)


def up(settings: Settings, *, as_json: bool) -> None:
    """Run the service until Ctrl-C or SIGTERM, and show what its processes print."""
    with (
        _stopping_in_order(),
        Supervisor(settings, echo=_echo(as_json), on_failure=_interrupt) as service,
    ):
        try:
            with Client(service.url, settings.bootstrap_token) as client:
                wait_until_ready(client, service.home / "logs")
            if not as_json:
                pages = (
                    f"{service.url}  Optuna Dashboard: {settings.dashboard_url}  Stop with Ctrl-C."
                )
                terminal.out.print(Text.assemble(("Ready: ", "bold green"), pages))
            threading.Event().wait()
        except KeyboardInterrupt:
            service.check()
            terminal.err.print("Stopping ...", style="dim")


def demo(settings: Settings, preset: str, *, keep: bool, as_json: bool) -> StudyInfo:
    """Run the service for one preset study on ports that are free, show how it goes and what came
    of it, and return the study.

    With `keep` the service stays until Ctrl-C.
    """
    settings = _on_free_ports(settings)
    with _stopping_in_order(), Supervisor(settings, on_failure=_interrupt) as service:
        try:
            with Client(service.url, settings.bootstrap_token) as client:
                with terminal.err.status("Starting the service ..."):
                    wait_until_ready(client, service.home / "logs")
                study = run_preset(client, preset, settings, as_json=as_json)
                if keep:
                    terminal.err.print("The service goes on until Ctrl-C.", style="dim")
                    with contextlib.suppress(KeyboardInterrupt):
                        threading.Event().wait()
                    service.check()
                terminal.err.print("Stopping the service ...", style="dim")
        except KeyboardInterrupt:
            service.check()
            terminal.err.print(
                "Stopping; the study stays, and the next `gradnoise up` takes it up again.",
                style="dim",
            )
            raise
        return study


def run_preset(client: Client, preset: str, settings: Settings, *, as_json: bool) -> StudyInfo:
    """Submit a preset, show its progress to the end and its outcome, write its report into the home
    folder, and return the study.
    """
    submitted = client.submit_preset(preset)
    if not as_json:
        terminal.submitted(submitted, client.base_url)
    terminal.follow(client.watch(submitted.id), terminal.err if as_json else terminal.out)
    study = client.study(submitted.id)
    links = terminal.links(study, client.base_url)
    comparison = client.comparison(study.id) if study.state == "complete" else None
    if comparison is not None:
        file = settings.home.resolve() / "reports" / f"{study.name}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(client.report(study.id, "html"), encoding="utf-8")
        shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        links = {"report file": str(shown)} | links
    if as_json:
        terminal.show_json({"study": study, "comparison": comparison, "links": links})
    else:
        terminal.outcome(study, comparison, links)
    return study


def wait_until_ready(client: Client, log_folder: Path) -> None:
    """Wait until the service can take a study; raise NotReadyError if that takes too long."""
    missing = ["the API does not answer yet"]
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(UnreachableError):
            readiness = client.readiness()
            if readiness["ready"]:
                return
            missing = [check["detail"] for check in readiness["checks"] if not check["ok"]]
        time.sleep(POLL_SECONDS)
    raise NotReadyError(missing, log_folder)


def _on_free_ports(settings: Settings) -> Settings:
    try:
        ports.check(settings.host, settings.port)
        port = settings.port
    except PortTakenError as error:
        port = ports.free(settings.host)
        terminal.err.print(f"{error} Taking port {port} instead.", style="yellow")
    dashboard_port = ports.free(settings.host, settings.dashboard_port, besides=frozenset({port}))
    return settings.model_copy(update={"port": port, "dashboard_port": dashboard_port})


def _echo(as_json: bool) -> Any:
    def echo(name: str, line: str) -> None:
        if as_json:
            terminal.out.print(line, markup=False)
        else:
            terminal.out.print(
                Text.assemble((f"{name:>9} ", NAME_STYLES.get(name, "")), ("│ ", "dim"), line)
            )

    return echo


@contextlib.contextmanager
def _stopping_in_order() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the block as Ctrl-C does; under nohup a closed terminal
    is nothing.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt() -> None:
    """Take the main thread out of whatever it waits for, by a signal that reaches it in the
    background of a shell too.
    """
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
