"""The API in a thread of the test process, on a real port."""

import socket
import threading
from dataclasses import dataclass, field

from fastapi import FastAPI

from gradnoise_service.api import state
from gradnoise_service.api.serving import Bounds, Server
from gradnoise_service.app import create_app, now
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database
from gradnoise_service.usecases.feed import ProgressFeed
from gradnoise_service.usecases.service import Service


@dataclass
class LiveApi:
    """A server that can be stopped, started again on the same port, and given another database."""

    settings: Settings
    database: Database
    bounds: Bounds = field(default_factory=Bounds)
    app: FastAPI | None = None
    server: Server | None = None
    thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def start(self) -> None:
        # connections are queued from now on, so no test waits for the server
        listener = socket.create_server(("127.0.0.1", self.settings.port))
        self.app = create_app(self.settings, self.database)
        self.server = Server(self.app, "127.0.0.1", self.settings.port, bounds=self.bounds)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def use(self, database: Database) -> None:
        """Serve another database, with fresh rate limits."""
        assert self.app is not None
        self.database = database
        service = Service(settings=self.settings, database=database, clock=now, admin_token=None)
        state.attach(self.app, service, ProgressFeed(service))

    def end_streams(self) -> None:
        """End the event streams that are still open."""
        assert self.app is not None
        self.app.state.feed.close()

    def stop(self) -> None:
        if self.server is None or self.thread is None:
            return
        self.end_streams()
        self.server.should_exit = True
        self.thread.join()
        self.server = None
