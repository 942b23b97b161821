"""What `gradnoise up` does: run the service on this machine until it is stopped."""

import contextlib

from rich.text import Text

from gradnoise_service.client import Client
from gradnoise_service.local.readiness import wait_until_ready
from gradnoise_service.local.stop_signals import (
    interrupt_main_thread,
    interrupt_on_stop_signals,
    wait_for_interrupt,
)
from gradnoise_service.local.supervisor import Echo, Supervisor
from gradnoise_service.settings import Settings
from gradnoise_service.terminal import console

NAME_STYLES = {"api": "cyan", "dashboard": "magenta", "workers": "green"}


def up(settings: Settings, *, as_json: bool) -> None:
    """Run the service until Ctrl-C or SIGTERM, and show the output of its processes."""
    supervisor = Supervisor(settings, echo=_echo(as_json), on_failure=interrupt_main_thread)
    asked_to_stop = contextlib.suppress(KeyboardInterrupt)  # while it starts or stops too
    with interrupt_on_stop_signals(), asked_to_stop, supervisor as service:
        try:
            with Client(service.url, settings.bootstrap_token) as client:
                wait_until_ready(
                    client, service.home / "logs", has_dispatcher=service.has_dispatcher
                )
            if not as_json:
                addresses = (
                    f"{service.url}  Optuna Dashboard: {settings.dashboard_url}  Stop with Ctrl-C."
                )
                console.out.print(Text.assemble(("Ready: ", "bold green"), addresses))
            wait_for_interrupt()
        except KeyboardInterrupt:
            service.check()
            with contextlib.suppress(OSError):  # the terminal was closed
                console.err.print("Stopping ...", style="dim")


def _echo(as_json: bool) -> Echo:
    def echo_json(_name: str, line: str) -> None:
        console.out.print(line, markup=False)

    def echo_text(name: str, line: str) -> None:
        style = NAME_STYLES.get(name, "")
        console.out.print(Text.assemble((f"{name:>9} ", style), ("│ ", "dim"), line))

    return echo_json if as_json else echo_text
