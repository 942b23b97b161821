"""Verbs through the client: each returns the study, and a refusal is an error with the reason."""

from collections.abc import Callable
from typing import Any

import pytest

from gradnoise_service.client import ApiError, Client
from gradnoise_service.domain.spec import StudySpec


def test_verbs_return_the_study_and_refusals_raise(
    client: Client, make_spec: Callable[..., StudySpec]
) -> None:
    study = client.submit(make_spec())
    assert client.pause(study.id).state == client.pause(study.id).state == "paused"
    assert client.prioritize(study.id, -3).priority == -3
    assert client.resume(study.id).state == "queued"
    assert client.cancel(study.id) == client.cancel(study.id)
    with pytest.raises(ApiError, match="only a study that is pausing or paused can be resumed"):
        client.resume(study.id)


def test_a_search_or_a_study_is_stopped(
    client: Client, worker: Any, make_spec: Callable[..., StudySpec]
) -> None:
    study = client.submit(make_spec())
    with pytest.raises(ApiError, match="Not every arm"):
        client.stop(study.id)
    worker.begin(study.id)
    for _ in range(4):
        worker.end_trial(study.id, 0.5)
    searched = client.stop(study.id, confirm=True)
    assert (searched.state, searched.stops[0].n, searched.stops[0].confirms) == ("running", 2, True)
    stopped = client.stop(study.id)
    assert (stopped.state, stopped.stops[1].confirms) == ("stopping", False)
    assert client.stop(study.id) == stopped
