"""A dispatcher is live until the time that it announced."""

from datetime import datetime, timedelta

from sqlalchemy import select

from gradnoise_service.domain.devices import Devices
from gradnoise_service.store import dispatchers
from gradnoise_service.store.database import Database
from gradnoise_service.store.dispatchers import DispatcherInfo
from gradnoise_service.store.tables import DispatcherRow


def test_a_dispatcher_is_live_until_its_announced_time(database: Database, now: datetime) -> None:
    info = DispatcherInfo(
        id="d1", devices=Devices(n_cores=2), n_slots=2, acquired_until=now + timedelta(seconds=30)
    )
    with database.session(write=True) as session:
        dispatchers.announce(session, info, now)
        dispatchers.announce(session, info, now)
    with database.session() as session:
        assert dispatchers.live(session, now) == [info]
        for seconds in (31, -31, -3600):  # a clock set back does not revive it
            assert dispatchers.live(session, now + timedelta(seconds=seconds)) == []


def test_withdrawn_and_expired_dispatchers_are_deleted(database: Database, now: datetime) -> None:
    for name, at in (("old", now), ("new", now + timedelta(hours=3))):
        until = at + timedelta(hours=1)
        info = DispatcherInfo(id=name, devices=Devices(), n_slots=1, acquired_until=until)
        with database.session(write=True) as session:
            dispatchers.announce(session, info, at)
    with database.session() as session:
        assert session.scalars(select(DispatcherRow.id)).all() == ["new"]
    with database.session(write=True) as session:
        dispatchers.withdraw(session, "new")
    with database.session() as session:
        assert session.scalars(select(DispatcherRow.id)).all() == []
