"""Verbs through the client: each returns the study, and a refusal is an error with the reason."""

from collections.abc import Callable

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
