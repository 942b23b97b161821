"""Stacks of every size against eager processes: `bench_stack` on the GPU, in few rounds."""

from collections.abc import Iterator

import torch

from benchmarks import bench_stack
from benchmarks.first_gpu.running import Finding

ROUNDS = 3


def findings() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        yield "no GPU: nothing to compare"
        return
    with bench_stack.workloads():
        yield from bench_stack.on_gpu(ROUNDS)
