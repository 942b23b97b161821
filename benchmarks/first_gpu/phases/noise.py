"""The noise kernel against `mul_`: `bench_noise` on the GPU."""

from collections.abc import Iterator

import torch

from benchmarks import bench_noise
from benchmarks.first_gpu.running import Finding


def findings() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        yield "no GPU: nothing to compare"
        return
    yield from bench_noise.on_gpu()
