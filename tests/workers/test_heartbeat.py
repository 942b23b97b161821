"""A heartbeat extends its lease, retries a failed call, and reports a lost lease."""

import threading
from datetime import timedelta

import pytest

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_workers.heartbeat import Heartbeat

SOON = timedelta(milliseconds=2)


def heartbeat_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_a_heartbeat_continues_until_the_block_ends_despite_a_fault() -> None:
    enough = threading.Event()
    beats: list[int] = []

    def extend() -> None:
        beats.append(1)
        if len(beats) == 2:
            raise OSError("the database is unreachable")
        if len(beats) == 4:
            enough.set()

    with Heartbeat(extend, SOON) as heartbeat:
        assert enough.wait(10)
        heartbeat.check()
    n = len(beats)
    assert heartbeat_threads() == []
    assert len(beats) == n


def test_a_heartbeat_stops_and_reports_a_lost_lease() -> None:
    called = threading.Event()

    def extend() -> None:
        called.set()
        raise LeaseLostError

    with Heartbeat(extend, SOON) as heartbeat:
        assert called.wait(10)
        for thread in heartbeat_threads():
            thread.join(10)
        with pytest.raises(LeaseLostError):
            heartbeat.check()
