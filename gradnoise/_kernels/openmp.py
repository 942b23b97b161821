"""CPU kernels on torch's OpenMP threads, by libgomp's GOMP_parallel.

torch's OpenMP threads spin for some milliseconds after torch's work and occupy the cores that other
threads would need, so noise directly after a backward pass is slower on threads of Python. Measured
on 2 cores that other processes used at times, for the 10 million gradients of an MLP after its
backward pass at batch 512: a pool of Python threads took 1.26 [1.14, 1.79] times as long (20.3 ms
against 16.1 ms; fastest call per round, median and range of 10 interleaved rounds). Without work of
torch before the noise there was no clear difference: 0.98 to 1.11 in three runs.
"""

import ctypes
from pathlib import Path

import torch

from gradnoise._kernels.machine_code import Kernel

_found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
if not _found:
    raise ImportError("torch has no libgomp on this system.")
_gomp = ctypes.CDLL(str(_found[0]))
_gomp.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
_gomp.GOMP_parallel.restype = None


def run(kernel: Kernel, job: int, n_threads: int) -> None:
    """Do the job at an address on n_threads threads."""
    _gomp.GOMP_parallel(kernel.address, job, n_threads, 0)
