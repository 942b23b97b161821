"""The fixture of the benchmarks' tests."""

from collections.abc import Iterator

import pytest

from gradnoise.workloads.registry import WORKLOADS


@pytest.fixture
def workloads() -> Iterator[None]:
    """Install the benchmarks' workloads for this process and those that it starts."""
    from benchmarks import bench_stack

    with bench_stack.workloads():
        WORKLOADS.reload()
        yield
    WORKLOADS.reload()
