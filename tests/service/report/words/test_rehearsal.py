from collections.abc import Callable
from datetime import datetime
from typing import Any

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.report.words.rehearsal import known_limits


def did(**changes: Any) -> dict[str, Any]:
    return {"error": "", "noise_to_gradient": None, "optimizers": [], "unread": []} | changes


def test_a_rehearsal_warns_of_noise_that_drowns_the_gradient_and_of_unread_parameters(
    make_spec: Callable[..., StudySpec], accuracy: Metric, now: datetime
) -> None:
    """Noise of up to ten times the gradient's norm is no warning, as in the report."""
    rehearsal = {
        "baseline": did(unread=["momentum", "width"]),
        "noisy": did(noise_to_gradient=31.0),
        "weak": did(noise_to_gradient=9.9),
    }
    study = Study(
        id=1,
        owner="",
        spec=make_spec(),
        metric=accuracy,
        state="running",
        created_at=now,
    )
    rehearsed = Study(**{**vars(study), "protocol": {"rehearsal": rehearsal}})
    declared = known_limits(study)
    assert known_limits(rehearsed) == (
        *declared,
        "The training function read no momentum and no width in baseline's first trial: what the "
        "study gives or varies there has no effect.",
        "At the first update, even with the lowest values of noisy's space, the norm of its noise "
        "is 31 times that of the gradient: the updates start as mostly noise. Widen the space "
        "towards lower values, such as eta from 1e-4 on a logarithmic scale.",
    )
