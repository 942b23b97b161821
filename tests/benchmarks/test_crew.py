"""Processes that run the same function at the same time."""

import os
from collections.abc import Iterator

import pytest
import torch

from benchmarks.crew import Crew

pytestmark = pytest.mark.slow  # each starts processes of its own


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew(2, {"GRADNOISE_PROBE": "set"}) as crew:
        yield crew


def test_every_process_returns_its_result(crew: Crew) -> None:
    """Each is a separate process with one thread."""
    pids = crew.call(os.getpid)
    assert len({*pids, os.getpid()}) == 3
    assert crew.call(torch.get_num_threads) == [1, 1]
    assert crew.call(os.getpid, n=1) == pids[:1]


def test_the_environment_is_set_in_the_processes_alone(crew: Crew) -> None:
    assert crew.call(os.getenv, "GRADNOISE_PROBE") == ["set", "set"]
    assert crew.call(os.getenv, "OMP_NUM_THREADS") == ["1", "1"]
    assert os.getenv("GRADNOISE_PROBE") is None


def test_an_error_has_its_traceback_and_ends_no_process(crew: Crew) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ZeroDivisionError"):
        crew.call(divmod, 1.0, 0.0)
    assert crew.call(divmod, 7, 2) == [(3, 1), (3, 1)]


def test_a_process_that_ends_raises_an_error() -> None:
    with Crew(1) as crew, pytest.raises(RuntimeError, match="ended without an answer"):
        crew.call(os._exit, 1)
