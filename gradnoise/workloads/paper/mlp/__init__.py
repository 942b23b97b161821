"""A deep, narrow ReLU network on images; section 4.1 of Neelakantan et al. 2015."""

from gradnoise.workloads.paper.mlp.workload import Mlp

__all__ = ["Mlp"]
