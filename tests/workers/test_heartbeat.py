"""A heartbeat extends its lease until the block ends, outlives a passing fault, and tells when the
lease is lost.
"""

import threading
from datetime import timedelta

import pytest

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_workers.heartbeat import Heartbeat

SOON = timedelta(milliseconds=2)


def test_it_beats_until_the_block_ends_and_outlives_a_fault() -> None:
    enough = threading.Event()
    beats: list[int] = []

    def extend() -> None:
        beats.append(1)
        if len(beats) == 2:
            raise OSError("the database is away")
        if len(beats) == 4:
            enough.set()

    with Heartbeat(extend, SOON) as heartbeat:
        assert enough.wait(10)
        heartbeat.check()
    n = len(beats)
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())
    assert len(beats) == n


def test_it_stops_and_tells_when_the_lease_is_lost() -> None:
    beaten = threading.Event()

    def extend() -> None:
        beaten.set()
        raise LeaseLostError

    with Heartbeat(extend, SOON) as heartbeat:
        assert beaten.wait(10)
        heartbeat._thread.join(10)
        with pytest.raises(LeaseLostError):
            heartbeat.check()
