"""Delivering the messages about studies that ended, at least once."""

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

import structlog

from gradnoise_service.domain.webhook import headers, is_listed
from gradnoise_service.store import notices
from gradnoise_service.store.notices import Notice
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.webhook_post import SECONDS, DeliveryError, post

logger = structlog.get_logger()

POLL_SECONDS = 2.0
N_AT_ONCE = 5
HOLD = timedelta(seconds=N_AT_ONCE * 4 * SECONDS)
"""Longer than it takes to send `N_AT_ONCE` messages: resolution, connection and answer of each."""

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=6)
MAX_ATTEMPTS = 24
"""With these pauses, a message is given up after three days."""

Post = Callable[[str, bytes, Mapping[str, str]], None]


def run(service: Service, stop: threading.Event) -> None:
    """Deliver messages until `stop` is set; several processes may do so."""
    if not service.settings.notify_urls:
        return
    send = partial(post, networks=service.settings.notify_networks)
    while not stop.wait(POLL_SECONDS):
        try:
            while deliver(service, send) == N_AT_ONCE and not stop.is_set():
                pass
        except Exception:
            logger.exception("notices_failed")


def deliver(service: Service, send: Post) -> int:
    """Send the messages that are due, at most `N_AT_ONCE`; return their number."""
    with service.database.session(write=True) as session:
        due = notices.claim(session, service.clock(), HOLD, N_AT_ONCE)
    for notice in due:
        error = _send(service, notice, send)
        again = None
        if error is not None and notice.n_attempts < MAX_ATTEMPTS:
            again = service.clock() + pause(notice.n_attempts)
        with service.database.session(write=True) as session:
            notices.settle(session, notice, again, error)
        logger.info("notice", url=notice.url, id=notice.key, error=error, again_at=str(again))
    return len(due)


def pause(n_attempts: int) -> timedelta:
    """Return how long to wait after a number of attempts.

    >>> pause(1).total_seconds(), pause(2).total_seconds(), pause(20).total_seconds()
    (10.0, 20.0, 21600.0)
    """
    return min(FIRST_PAUSE * (1 << (n_attempts - 1)), LONGEST_PAUSE)


def _send(service: Service, notice: Notice, send: Post) -> str | None:
    """Return why a message was not accepted, None if it was."""
    if not is_listed(notice.url, service.settings.notify_urls):
        return "The URL is not allowed any more."
    secret, body = service.settings.notify_secret.get_secret_value(), notice.body.encode()
    signed = headers(secret, notice.key, int(service.clock().timestamp()), body)
    try:
        send(notice.url, body, signed)
    except DeliveryError as error:
        return str(error)
    return None
