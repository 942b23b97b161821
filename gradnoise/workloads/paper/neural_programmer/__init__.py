"""The Neural Programmer on questions about tables; section 4.3 of Neelakantan et al. 2015."""

from gradnoise.workloads.paper.neural_programmer.workload import NeuralProgrammer

__all__ = ["NeuralProgrammer"]
