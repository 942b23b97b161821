"""What tests of the benchmarks share: the benchmarks' own workloads, found by this process and by
those that it starts.
"""

from collections.abc import Iterator

import pytest

from gradnoise.workloads.registry import WORKLOADS


@pytest.fixture
def workloads() -> Iterator[None]:
    from benchmarks import bench_stack

    with bench_stack.workloads():
        WORKLOADS.reload()
        yield
    WORKLOADS.reload()
