"""An end-to-end memory network on the bAbI tasks; section 4.2 of Neelakantan et al. 2015."""

from gradnoise.workloads.paper.memn2n.workload import MemN2N

__all__ = ["MemN2N"]
