"""Metrics of the service, from the database."""

from collections.abc import Mapping
from dataclasses import dataclass

from gradnoise_service.store import counters, load, notices
from gradnoise_service.store.load import Load
from gradnoise_service.usecases.service import Service

LOST_OUTCOMES = ("worker_lost", "stack_lost", "displaced", "orphaned")
"""Outcomes of attempts that ended without a result or an error of their trial."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the metrics show.

    Attributes:
        load: The work of the service.
        attempts_lost: Attempts that were lost since the database exists, by outcome.
        n_lease_losses: Leases that expired before their dispatcher extended them.
        n_notices: Messages of webhooks that wait.
        oldest_queued_seconds: Since the oldest queued study was submitted; 0 without one.
    """

    load: Load
    attempts_lost: Mapping[str, int]
    n_lease_losses: int
    n_notices: int
    oldest_queued_seconds: float


def measure(service: Service) -> Measured:
    """Return what the metrics show now."""
    now = service.clock()
    with service.database.session() as session:
        found, counted = load.read(session, now), counters.read(session)
        age = now - (found.oldest_queued_at or now)
        return Measured(
            load=found,
            attempts_lost={
                outcome: counted.get(counters.ATTEMPTS + outcome, 0) for outcome in LOST_OUTCOMES
            },
            n_lease_losses=counted.get(counters.LEASE_LOSSES, 0),
            n_notices=notices.n_waiting(session),
            oldest_queued_seconds=max(0.0, age.total_seconds()),
        )
