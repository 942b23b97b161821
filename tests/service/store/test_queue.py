"""The place of a queued study is the order in which dispatchers acquire."""

from collections.abc import Callable
from datetime import datetime, timedelta

from gradnoise_service.domain.devices import Devices
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.report.words.queue import waits_for
from gradnoise_service.store import dispatchers, leases, queue, studies
from gradnoise_service.store.database import Database
from gradnoise_service.store.dispatchers import DispatcherInfo

HOUR = timedelta(hours=1)


def test_places_are_the_order_of_acquisition(
    database: Database, make_spec: Callable[..., StudySpec], accuracy: Metric, now: datetime
) -> None:
    """By priority, then for the owner with the fewest held studies, then by age."""
    names = {"a1": 0, "a2": 0, "b1": 0, "urgent": 5}
    with database.session(write=True) as session:
        ids = {
            name: studies.submit(
                session, make_spec(name=name, priority=priority), accuracy, owner=name[0], now=now
            ).id
            for name, priority in names.items()
        }
        assert list(queue.places(session, now, list(ids.values()))) == [
            ids[n] for n in ("urgent", "a1", "a2", "b1")
        ]
        assert leases.acquire(session, "d", now, HOUR) is not None
        assert leases.acquire(session, "d", now, HOUR) is not None
        info = DispatcherInfo(
            id="d", devices=Devices(n_cores=1), n_slots=1, acquired_until=now + HOUR
        )
        dispatchers.announce(session, info, now)
        assert queue.places(session, now, list(ids.values())) == {
            ids["b1"]: QueuePlace(place=1, n_running=2, n_dispatchers=1),
            ids["a2"]: QueuePlace(place=2, n_running=2, n_dispatchers=1),
        }
        assert studies.progress(session, ids["a2"], now).queue == QueuePlace(
            place=2, n_running=2, n_dispatchers=1
        )
        assert studies.progress(session, ids["a1"], now).queue is None
        acquired = leases.acquire(session, "d", now, HOUR)
        assert acquired is not None
        assert acquired[0].spec.name == "b1"
        late = now + 2 * HOUR
        assert len(queue.places(session, late, list(ids.values()))) == 4


def test_a_study_without_devices_waits_with_the_reason_and_others_start_before_it(
    database: Database, make_spec: Callable[..., StudySpec], accuracy: Metric, now: datetime
) -> None:
    """It starts where a dispatcher has such devices, and keeps those that it started with."""
    cores = Devices(n_cores=2, faults=("Node a offers GPU 0.",))

    def announce(devices: Devices, name: str = "d") -> None:
        info = DispatcherInfo(id=name, devices=devices, n_slots=1, acquired_until=now + HOUR)
        dispatchers.announce(session, info, now)

    with database.session(write=True) as session:
        ids = {
            name: studies.submit(
                session, make_spec(name=name, devices=name), accuracy, owner="ada", now=now
            ).id
            for name in ("gpu", "auto", "all", "cpu")
        }
        announce(Devices())
        waits = [
            queue.places(session, now, list(ids.values()))[ids[name]]
            for name in ("gpu", "auto", "cpu")
        ]
        assert [place.lacks for place in waits] == ["gpu", "auto", "cpu"]
        announce(cores)
        places = queue.places(session, now, list(ids.values()))
        assert {name: places[ids[name]].place for name in ids} == {
            "gpu": 1,
            "auto": 1,
            "all": 2,
            "cpu": 3,
        }
        assert waits_for(places[ids["gpu"]]) == (
            "waits for a GPU: no worker has one; Node a offers GPU 0."
        )
        acquired = leases.acquire(session, "d", now, HOUR, cores.served)
        assert acquired is not None
        study, lease = acquired
        assert (study.id, study.devices) == (ids["auto"], "auto")
        leases.decide_devices(session, lease, "cpu")
        leases.release(session, lease, now)
        announce(Devices(n_gpus=1), "other")
        assert queue.places(session, now, list(ids.values()))[ids["gpu"]].lacks is None
        served = Devices(n_gpus=1).served
        names = []
        while (found := leases.acquire(session, "other", now, HOUR, served)) is not None:
            names.append(found[0].spec.name)
        assert names == ["gpu", "all"]
