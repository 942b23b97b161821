"""Actors on GPUs that only Ray counts: they train on the CPU and report what a test declares."""

import os
from pathlib import Path

import ray

from gradnoise.training.gpus import Gpu
from gradnoise_workers.actor import TrialActor

FAULTS = "GRADNOISE_TEST_FAULTS"
"""A variable with a folder; the file named as a GPU's number there has the fault of that GPU."""


class FakeGpuActor(TrialActor):
    """Reports the GPU that Ray assigned to it, with the fault in its file, if there is one."""

    def _gpu(self) -> Gpu:
        number = os.environ["CUDA_VISIBLE_DEVICES"]  # set by Ray
        node = ray.get_runtime_context().get_node_id()
        return Gpu(fault=self._device_fault(), name="fake GPU", uuid=f"{node}/{number}")

    def _device_fault(self) -> str:
        path = Path(os.environ[FAULTS]) / os.environ["CUDA_VISIBLE_DEVICES"]
        return path.read_text(encoding="utf-8") if path.exists() else ""
