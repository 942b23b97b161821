"""A service for one command: the one that runs from the home folder, or one that is started."""

import contextlib
from collections.abc import Iterator

from filelock import FileLock, Timeout

from gradnoise_service.client import Client
from gradnoise_service.local import ports, running_service
from gradnoise_service.local.errors import PortTakenError
from gradnoise_service.local.readiness import wait_until_ready
from gradnoise_service.local.stop_signals import (
    interrupt_main_thread,
    interrupt_on_stop_signals,
    wait_for_interrupt,
)
from gradnoise_service.local.supervisor import LOCK_NAME, Supervisor
from gradnoise_service.settings import Settings
from gradnoise_service.terminal import console


@contextlib.contextmanager
def started(settings: Settings, *, keep: bool = False) -> Iterator[Client]:
    """Run the service on free ports within a block; with `keep` on until Ctrl-C."""
    settings = _on_free_ports(settings)
    supervisor = Supervisor(settings, on_failure=interrupt_main_thread)
    with interrupt_on_stop_signals(), supervisor as service:
        try:
            with Client(service.url, settings.bootstrap_token) as client:
                with console.err.status("Starting the service ..."):
                    wait_until_ready(
                        client, service.home / "logs", has_dispatcher=service.has_dispatcher
                    )
                yield client
                if keep:
                    console.err.print("The service runs until Ctrl-C.", style="dim")
                    with contextlib.suppress(KeyboardInterrupt):
                        wait_for_interrupt()
                    service.check()
                console.err.print("Stopping the service ...", style="dim")
        except KeyboardInterrupt:
            service.check()
            console.err.print(
                "Stopping. The study is kept; the next `gradnoise up` continues it.", style="dim"
            )
            raise


@contextlib.contextmanager
def running_or_started(
    settings: Settings, token: str | None, *, keep: bool = False
) -> Iterator[Client]:
    """Open a client to the service of the home folder; start one if none runs."""
    running = running_service.find(settings.home) if is_running(settings) else None
    if running is None:
        with started(settings, keep=keep) as client:
            yield client
    else:
        with Client(running.url, token or settings.bootstrap_token) as client:
            wait_until_ready(client, settings.home / "logs")
            yield client


def is_running(settings: Settings) -> bool:
    """True if a supervisor holds the lock of the home folder."""
    if not settings.home.exists():
        return False
    lock = FileLock(settings.home.resolve() / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def _on_free_ports(settings: Settings) -> Settings:
    try:
        ports.check(settings.host, settings.port)
        port = settings.port
    except PortTakenError as error:
        port = ports.free(settings.host)
        console.err.print(f"{error} Using port {port} instead.", style="yellow")
    dashboard_port = ports.free(settings.host, settings.dashboard_port, exclude=frozenset({port}))
    return settings.model_copy(update={"port": port, "dashboard_port": dashboard_port})
