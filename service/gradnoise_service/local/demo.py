"""What `gradnoise demo` does: start the service, run a preset study, show its outcome, stop."""

import contextlib
import threading
from pathlib import Path

from gradnoise_service.client import Client, StudyInfo
from gradnoise_service.local import ports
from gradnoise_service.local.errors import PortTakenError
from gradnoise_service.local.readiness import wait_until_ready
from gradnoise_service.local.stop_signals import interrupt_main_thread, interrupt_on_stop_signals
from gradnoise_service.local.supervisor import Supervisor
from gradnoise_service.settings import Settings
from gradnoise_service.terminal import console, outcome, progress, study


def demo(settings: Settings, preset: str, *, keep: bool, as_json: bool) -> StudyInfo:
    """Run the service on free ports for one preset study, and return the study.

    With `keep` the service runs on until Ctrl-C.
    """
    settings = _on_free_ports(settings)
    supervisor = Supervisor(settings, on_failure=interrupt_main_thread)
    with interrupt_on_stop_signals(), supervisor as service:
        try:
            with Client(service.url, settings.bootstrap_token) as client:
                with console.err.status("Starting the service ..."):
                    wait_until_ready(client, service.home / "logs")
                finished = run_preset(client, preset, settings, as_json=as_json)
                if keep:
                    console.err.print("The service runs until Ctrl-C.", style="dim")
                    with contextlib.suppress(KeyboardInterrupt):
                        threading.Event().wait()
                    service.check()
                console.err.print("Stopping the service ...", style="dim")
        except KeyboardInterrupt:
            service.check()
            console.err.print(
                "Stopping. The study is kept; the next `gradnoise up` continues it.", style="dim"
            )
            raise
        return finished


def run_preset(client: Client, preset: str, settings: Settings, *, as_json: bool) -> StudyInfo:
    """Submit a preset, show its progress and outcome, write its report, and return the study."""
    submitted = client.submit_preset(preset)
    if not as_json:
        study.show_submitted(submitted, client.base_url)
    progress.follow(client.watch(submitted.id), console.err if as_json else console.out)
    finished = client.study(submitted.id)
    links = study.links(finished, client.base_url)
    comparison = client.comparison(finished.id) if finished.state == "complete" else None
    if comparison is not None:
        links = {"report file": _write_report(client, finished, settings)} | links
    if as_json:
        console.show_json({"study": finished, "comparison": comparison, "links": links})
    else:
        outcome.show_outcome(finished, comparison, links)
    return finished


def _write_report(client: Client, finished: StudyInfo, settings: Settings) -> str:
    """Write the HTML report into the home folder and return its path, relative if possible."""
    file = settings.home.resolve() / "reports" / f"{finished.name}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(client.report(finished.id, "html"), encoding="utf-8")
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _on_free_ports(settings: Settings) -> Settings:
    try:
        ports.check(settings.host, settings.port)
        port = settings.port
    except PortTakenError as error:
        port = ports.free(settings.host)
        console.err.print(f"{error} Using port {port} instead.", style="yellow")
    dashboard_port = ports.free(settings.host, settings.dashboard_port, exclude=frozenset({port}))
    return settings.model_copy(update={"port": port, "dashboard_port": dashboard_port})
