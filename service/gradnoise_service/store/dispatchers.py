"""The live dispatchers, shown to users whose studies wait."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.devices import Devices
from gradnoise_service.store.lease_times import is_valid, times
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import DISPATCHER, DispatcherRow

NOW = bindparam("now", type_=DISPATCHER.c.acquired_until.type)
LIVE = Prepared(select(DISPATCHER).where(is_valid(DISPATCHER, NOW)).order_by(DISPATCHER.c.id))


@dataclass(frozen=True, kw_only=True)
class DispatcherInfo:
    """A dispatcher process with its devices; it is alive until `acquired_until`.

    `n_slots` is how many trials run at once, at least.
    """

    id: str
    devices: Devices
    n_slots: int
    acquired_until: datetime

    @property
    def device(self) -> str:
        """Its devices in words."""
        return self.devices.text

    @property
    def faults(self) -> tuple[str, ...]:
        """Why GPUs of its cluster are not used."""
        return self.devices.faults


def announce(session: Session, info: DispatcherInfo, now: datetime) -> None:
    """Record a dispatcher as alive, and remove those without a heartbeat for an hour."""
    session.execute(
        delete(DispatcherRow).where(DispatcherRow.acquired_until < now - timedelta(hours=1))
    )
    session.merge(
        DispatcherRow(
            id=info.id,
            n_gpus=info.devices.n_gpus,
            n_cores=info.devices.n_cores,
            faults=list(info.devices.faults),
            n_slots=info.n_slots,
            **times(now, info.acquired_until - now),
        )
    )


def withdraw(session: Session, dispatcher: str) -> None:
    """Remove a dispatcher that stops."""
    session.execute(delete(DispatcherRow).where(DispatcherRow.id == dispatcher))


def live(session: Transaction, now: datetime) -> list[DispatcherInfo]:
    """Return the dispatchers that are alive."""
    return [
        DispatcherInfo(
            id=row.id,
            devices=Devices(n_gpus=row.n_gpus, n_cores=row.n_cores, faults=tuple(row.faults)),
            n_slots=row.n_slots,
            acquired_until=row.acquired_until,
        )
        for row in LIVE.rows(session, now=now)
    ]
