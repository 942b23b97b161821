"""The cost of an epoch is that of earlier studies whose arms train the same models."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import attempts, leases, studies, trials
from gradnoise_service.store.costs import seconds_per_epoch
from gradnoise_service.store.database import Database

ADAM = {"name": "adam", "technique": "none", "optimizer": "adam"}
BASELINE = {"name": "baseline", "technique": "none"}


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([BASELINE, ADAM], 2.5),
        ([{**ADAM, "name": "other"}, BASELINE], 2.5),  # in any order
        ([BASELINE, {**ADAM, "options": {"depth": 40}}], None),
        ([BASELINE, {**ADAM, "optimizer": None}], None),
    ],
)
def test_studies_of_the_same_recipes_are_comparable(
    database: Database,
    make_spec: Callable[..., StudySpec],
    accuracy: Metric,
    now: datetime,
    arms: list[dict[str, object]],
    expected: float | None,
) -> None:
    first = make_spec(arms=[BASELINE, ADAM])
    with database.session(write=True) as session:
        study = studies.submit(session, first, accuracy, owner="ada", now=now)
        assert leases.acquire(session, "d", now, timedelta(minutes=1)) is not None
        trials.declare(session, study.id, study.design.trials("search"))
        waiting = attempts.waiting(session, study.id, "search")[0]
        token = attempts.start(session, waiting.trial.id, {"lr": 0.1}, 0, now)
        attempts.add_cost(session, {token: (2, 5.0)})
    with database.session() as session:
        assert seconds_per_epoch(session, make_spec(name="second", arms=arms)) == expected
