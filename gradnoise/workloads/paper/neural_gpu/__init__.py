"""The neural GPU; section 4.5 of Neelakantan et al. 2015."""

from gradnoise.workloads.paper.neural_gpu.workload import NeuralGpu

__all__ = ["NeuralGpu"]
