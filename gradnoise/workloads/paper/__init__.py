"""The systems of Neelakantan et al. 2015, arXiv:1511.06807, as workloads."""
