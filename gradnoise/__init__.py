"""Gradient noise for torch: attach it to an optimizer, or compare training with and without it.

The public modules are `gradnoise`, `gradnoise.workloads`, `gradnoise.testing` and
`gradnoise.integrations`.
"""

from gradnoise._hook import GradientNoise, attach
from gradnoise._processes import NoiseProcess, annealed, anticorrelated, constant, preconditioned
from gradnoise.techniques.declare import technique
from gradnoise.workloads.declare import optimizer

__version__ = "0.1.0"

__all__ = [
    "GradientNoise",
    "NoiseProcess",
    "__version__",
    "annealed",
    "anticorrelated",
    "attach",
    "constant",
    "optimizer",
    "preconditioned",
    "technique",
]
