"""The message about a study that ended is delivered at least once, however often sending fails."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.webhook import headers
from gradnoise_service.settings import Settings
from gradnoise_service.store import leases, notices
from gradnoise_service.store.database import Database
from gradnoise_service.usecases import notices as delivery
from gradnoise_service.usecases import studies
from gradnoise_service.usecases.callers import LOCAL
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.webhook_post import DeliveryError

URL = "https://hooks.example.org/team"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """Records messages; raises while `error` is set."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.error = ""

    def __call__(self, url: str, body: bytes, sent: Mapping[str, str]) -> None:
        self.messages.append((url, body, sent))
        if self.error:
            raise DeliveryError(self.error)


@pytest.fixture
def clock(now: datetime) -> list[datetime]:
    return [now]


@pytest.fixture
def service(database: Database, tmp_path: Path, clock: list[datetime]) -> Service:
    settings = Settings(home=tmp_path, notify_urls=[URL], notify_secret=SECRET)
    return Service(settings=settings, database=database, clock=lambda: clock[0], admin_token=None)


def test_message_tells_of_the_end_and_is_signed(
    service: Service, workshop: Any, now: datetime
) -> None:
    study, receiver = workshop.queued(notify=[URL]), Receiver()
    assert delivery.deliver(service, receiver) == 0
    workshop.cancel(study)
    assert delivery.deliver(service, receiver) == 1
    assert delivery.deliver(service, receiver) == 0
    ((url, body, sent),) = receiver.messages
    message = json.loads(body)
    assert (url, message["type"]) == (URL, "study.ended")
    assert message["data"] == {
        "study_id": study.id,
        "name": study.spec.name,
        "owner": "local",
        "state": "cancelled",
        "verdict": None,
        "error": None,
    }
    assert sent == headers(SECRET, message["id"], int(now.timestamp()), body)
    waiting = workshop.queued(notify=[URL])
    for deleted in (study, waiting):
        studies.delete(service, LOCAL, deleted.id)
    assert delivery.deliver(service, receiver) == 1
    data = json.loads(receiver.messages[-1][1])["data"]
    assert (data["name"], data["state"]) == (waiting.spec.name, "cancelled")


def test_message_is_stored_only_if_the_study_ends(
    service: Service, database: Database, workshop: Any, now: datetime
) -> None:
    """The transaction that ends the study stores it, or nothing is stored."""
    workshop.queued(notify=[URL])
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "a dispatcher", now, timedelta(hours=1))
        assert acquired is not None
        _, lease = acquired

    def fail_and_break() -> None:
        with database.session(write=True) as session:
            leases.fail(session, lease, now, "no data")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_and_break()
    receiver = Receiver()
    assert delivery.deliver(service, receiver) == 0
    with database.session(write=True) as session:
        leases.fail(session, lease, now, "no data")
    assert delivery.deliver(service, receiver) == 1
    assert json.loads(receiver.messages[0][1])["data"]["error"] == "no data"


def test_failed_delivery_is_repeated_with_growing_pauses_and_given_up(
    service: Service, database: Database, workshop: Any, clock: list[datetime]
) -> None:
    """Every attempt has the same id and body."""
    workshop.cancel(workshop.queued(notify=[URL]))
    receiver = Receiver()
    receiver.error = "The answer is 500."
    for n in range(1, delivery.MAX_ATTEMPTS + 1):
        assert delivery.deliver(service, receiver) == 1
        clock[0] += delivery.pause(n) - timedelta(seconds=1)
        assert delivery.deliver(service, receiver) == 0
        clock[0] += timedelta(seconds=1)
    assert delivery.deliver(service, receiver) == 0
    assert len({(body, sent["webhook-id"]) for _, body, sent in receiver.messages}) == 1
    assert clock[0] - workshop.now > timedelta(days=3)


def test_message_of_a_sender_that_died_is_sent_again(
    service: Service, database: Database, workshop: Any, clock: list[datetime]
) -> None:
    """While it is held, no other process sends it."""
    workshop.cancel(workshop.queued(notify=[URL]))
    with database.session(write=True) as session:
        (held,) = notices.claim(session, clock[0], delivery.HOLD, 5)
    receiver = Receiver()
    assert delivery.deliver(service, receiver) == 0
    clock[0] += delivery.HOLD
    assert delivery.deliver(service, receiver) == 1
    assert receiver.messages[0][2]["webhook-id"] == held.key
    with database.session(write=True) as session:
        notices.settle(session, held, clock[0], "too late")
    assert delivery.deliver(service, receiver) == 0


def test_url_that_is_not_allowed_any_more_gets_nothing(service: Service, workshop: Any) -> None:
    workshop.cancel(workshop.queued(notify=["https://former.example.org/"]))
    receiver = Receiver()
    assert delivery.deliver(service, receiver) == 1
    assert receiver.messages == []


def test_study_may_notify_only_allowed_urls(
    service: Service, make_spec: Any, announced: None
) -> None:
    spec = make_spec(notify=["https://evil.example/", URL])
    with pytest.raises(InvalidSpecError) as caught:
        studies.submit(service, LOCAL, spec, None)
    assert [fault.field for fault in caught.value.errors] == ["notify.0"]
    assert studies.submit(service, LOCAL, make_spec(notify=[URL + "/a"]), None).is_new
