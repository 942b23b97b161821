"""A connection to PostgreSQL that waits a bounded time for each answer of the server."""

import time
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

POLL_SECONDS = 0.1


class PatientConnection(psycopg.Connection[Any]):
    """A connection that breaks if the server does not answer within `patience_seconds`.

    A server that is stopped, or unreachable since a cut of the network, answers nothing and closes
    nothing, so that a statement would wait for ever. psycopg waits for every answer by `wait`.
    """

    patience_seconds = 10.0

    def wait(
        self, gen: PQGen[RV], interval: float = POLL_SECONDS, timeout: float | None = None
    ) -> RV:
        seconds = self.patience_seconds if timeout is None else timeout
        ends_at = time.monotonic() + seconds
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.OperationalError:
            if timeout is None and time.monotonic() >= ends_at:
                self.close()
                raise psycopg.OperationalError(
                    f"The database did not answer within {seconds:g} seconds."
                ) from None
            raise
