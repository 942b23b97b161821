"""Trials, attempts and logs through the client."""

from collections.abc import Callable
from typing import Any

import pytest

from gradnoise_service.client import ApiError, Client, trial_calls
from gradnoise_service.domain.spec import StudySpec

MakeSpec = Callable[..., StudySpec]


def test_a_trial_is_found_by_its_id_and_by_its_place(
    client: Client, make_spec: MakeSpec, worker: Any
) -> None:
    study = client.submit(make_spec())
    worker.begin(study.id)
    known = list(client.trials(study.id))
    assert client.trial(study.id, known[3].id) == client.trial(study.id, str(known[3].id))
    assert client.trial(study.id, "search/noisy/1") == known[3]
    for unknown in ("search/noisy/99", "search/nobody/0", "later/noisy/1", "noisy", "99", "a b"):
        with pytest.raises(ApiError) as found:
            client.trial(study.id, unknown)
        assert found.value.status == 404


def test_a_log_is_followed_until_the_study_has_ended(
    client: Client, make_spec: MakeSpec, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is missed, and nothing comes twice."""
    study = client.submit(make_spec())
    worker.begin(study.id)
    first = worker.print_in(study.id, ["a\n"])
    steps = iter(
        [
            lambda: None,
            lambda: worker.print_in(study.id, ["b\n", "c\n"]),
            lambda: (worker.print_in(study.id, ["d\n"]), client.cancel(study.id)),
        ]
    )
    monkeypatch.setattr(trial_calls.time, "sleep", lambda _seconds: next(steps)())
    followed = list(client.log_pieces(study.id, follow=True))
    assert [piece.text for piece in followed] == ["a\n", "b\n", "c\n", "d\n"]
    assert next(steps, None) is None
    assert list(client.log_pieces(study.id, first, follow=True)) == followed[:1]
    assert client.log(study.id, first) == "[attempt 1]\na\n"
    assert [attempt.outcome for attempt in client.attempts(study.id, first)] != []
