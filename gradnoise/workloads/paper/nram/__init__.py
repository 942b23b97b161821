"""A neural random-access machine; section 4.4 of Neelakantan et al. 2015."""

from gradnoise.workloads.paper.nram.workload import Nram

__all__ = ["Nram"]
