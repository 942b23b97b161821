"""Verbs on studies: in which states each is allowed, and in which it has been done already."""

from collections.abc import Mapping
from typing import Literal

from gradnoise_service.domain.errors import VerbNotAllowedError
from gradnoise_service.domain.study import StudyState

Verb = Literal["pause", "resume", "cancel", "prioritize"]

ALLOWED: Mapping[Verb, tuple[StudyState, ...]] = {
    "pause": ("queued", "running"),
    "resume": ("pausing", "paused"),
    "cancel": ("queued", "running", "pausing", "paused"),
    "prioritize": ("queued", "paused"),
}
DONE: Mapping[Verb, tuple[StudyState, ...]] = {
    "pause": ("pausing", "paused"),
    "resume": ("queued", "running"),
    "cancel": ("cancelled",),
    "prioritize": (),
}
PARTICIPLES: Mapping[Verb, str] = {
    "pause": "paused",
    "resume": "resumed",
    "cancel": "cancelled",
    "prioritize": "given another priority",
}


def allowed(state: StudyState) -> tuple[Verb, ...]:
    """Return the verbs that change a study in this state.

    >>> allowed("paused")
    ('resume', 'cancel', 'prioritize')
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
