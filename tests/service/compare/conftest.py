"""What the tests here share: metrics, and studies whose outcome is chosen."""

import functools
from collections.abc import Callable

import chosen_outcomes
import pytest

from service.domain.spec import StudySpec
from service.domain.study import Metric, Trial


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
def make_trial() -> Callable[..., Trial]:
    """A function that returns one trial: `make_trial(spec, "search", "noisy", 3, 0.5)`, with a state in place of the value if need be."""
    return chosen_outcomes.trial
