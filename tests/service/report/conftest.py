"""What the tests here share: metrics, and studies whose outcome is chosen."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime

import chosen_outcomes
import pytest

from service.domain.spec import StudySpec
from service.domain.study import Metric, Study, Trial


@pytest.fixture
def accuracy() -> Metric:
    return Metric(name="accuracy", direction="maximize", worst=0.0)


@pytest.fixture
def loss() -> Metric:
    return Metric(name="loss", direction="minimize", worst=100.0)


@pytest.fixture
def make_trials(make_spec: Callable[..., StudySpec]) -> Callable[..., tuple[StudySpec, list[Trial]]]:
    """A function that returns a spec and trials with the given confirm values: `make_trials({"baseline": [0.1], "noisy": [0.2]})`."""
    return functools.partial(chosen_outcomes.study, make_spec)


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """A function that returns a complete study of a spec and a metric."""

    def make(spec: StudySpec, metric: Metric, **changes: object) -> Study:
        fields: dict[str, object] = {"id": 7, "owner": "ann", "state": "complete", "created_at": datetime(2026, 1, 2, tzinfo=UTC)}
        return Study(spec=spec, metric=metric, **(fields | changes))  # type: ignore[arg-type]  # fields by name

    return make
