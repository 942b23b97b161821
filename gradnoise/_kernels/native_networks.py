"""The kernel for dense networks as machine code."""

from gradnoise._kernels.machine_code import Kernel

KERNEL = Kernel("networks", "network_job.py", "networks.py", "tiles.py")
"""Does networks of a job in the form of `network_job.JOB`."""
