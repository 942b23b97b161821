"""Verbs on studies: in which states each is allowed, and in which it has been done already."""

from collections.abc import Mapping
from typing import Literal

from gradnoise_service.domain.errors import VerbNotAllowedError
from gradnoise_service.domain.study import StudyState

Verb = Literal["pause", "resume", "stop", "cancel", "retry", "prioritize"]

ALLOWED: Mapping[Verb, tuple[StudyState, ...]] = {
    "pause": ("queued", "running", "stopping"),
    "resume": ("pausing", "paused"),
    "stop": ("queued", "running", "pausing", "paused"),
    "cancel": ("queued", "running", "stopping", "pausing", "paused"),
    "retry": ("complete", "failed"),
    "prioritize": ("queued", "paused"),
}
DONE: Mapping[Verb, tuple[StudyState, ...]] = {
    "pause": ("pausing", "paused"),
    "resume": ("queued", "running", "stopping"),
    "stop": ("stopping",),
    "cancel": ("cancelled",),
    "retry": (),
    "prioritize": (),
}
PARTICIPLES: Mapping[Verb, str] = {
    "pause": "paused",
    "resume": "resumed",
    "stop": "stopped",
    "cancel": "cancelled",
    "retry": "retried",
    "prioritize": "given another priority",
}


def allowed(state: StudyState) -> tuple[Verb, ...]:
    """Return the verbs that change a study in this state.

    >>> allowed("paused")
    ('resume', 'stop', 'cancel', 'prioritize')
    """
    return tuple(verb for verb, states in ALLOWED.items() if state in states)


def applies(verb: Verb, name: str, state: StudyState) -> bool:
    """Return whether a verb changes a study; False if it has been done already.

    Raises:
        VerbNotAllowedError: If the state does not allow it.
    """
    if state in DONE[verb]:
        return False
    if state not in ALLOWED[verb]:
        raise VerbNotAllowedError(name, state, PARTICIPLES[verb], ALLOWED[verb])
    return True
