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
    """By priority, then in turn among owners; each place holds until the study starts."""
    names = {"a1": 0, "a2": 0, "a3": 0, "b1": 0, "urgent": 5, "b2": 0, "c1": 0, "u2": -5}
    with database.session(write=True) as session:

        def submit(name: str, priority: int, at: datetime = now) -> int:
            spec = make_spec(name=name, priority=priority)
            return studies.submit(session, spec, accuracy, owner=name[0], now=at).id

        ids = {name: submit(name, priority) for name, priority in names.items()}
        order = ["urgent", "a1", "b1", "c1", "a2", "b2", "a3", "u2"]
        info = DispatcherInfo(
            id="d", devices=Devices(n_cores=1), n_slots=1, acquired_until=now + HOUR
        )
        dispatchers.announce(session, info, now)
        for k, name in enumerate(order):
            places = queue.places(session, now, list(ids.values()))
            assert list(places.items()) == [
                (ids[each], QueuePlace(place=i, n_running=k, n_dispatchers=1))
                for i, each in enumerate(order[k:], start=1)
            ]
            assert studies.progress(session, ids[name], now).queue == places[ids[name]]
            acquired = leases.acquire(session, "d", now + timedelta(seconds=k), HOUR)
            assert acquired is not None
            assert acquired[0].spec.name == name
            assert studies.progress(session, ids[name], now).queue is None
        late = now + 2 * HOUR
        ids |= {name: submit(name, 0, late) for name in ("a4", "c2", "b3", "d1")}
        # those that lost their dispatcher go on first; c's last start is the longest ago
        expected = ["urgent", "a1", "a2", "a3", "b1", "b2", "c1", "d1", "c2", "b3", "a4", "u2"]
        assert list(queue.places(session, late, list(ids.values()))) == [ids[n] for n in expected]
        for k, name in enumerate(expected):
            acquired = leases.acquire(session, "d", late + timedelta(seconds=k), HOUR)
            assert acquired is not None
            assert acquired[0].spec.name == name


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
