import multiprocessing
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from gradnoise._kernels import backends
from gradnoise._noise import Noise
from gradnoise._streams import normal


@pytest.mark.parametrize("threads", ["OpenMP", "Python"])
def test_the_number_of_threads_does_not_change_the_noise(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, for tensors large enough for several threads."""
    if threads == "Python":
        monkeypatch.setattr(backends, "openmp", lambda: None)
    shapes = {"a": (700, 1_000), "b": (50,), "c": (300, 7)}
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append([torch.zeros(shape) for shape in shapes.values()])
            Noise(1, shapes).add_(results[-1], 3, 1.0)
    finally:
        torch.set_num_threads(before)
    single, *threaded = results
    assert all(all(map(torch.equal, single, found)) for found in threaded)


def test_a_forked_process_draws_noise_too() -> None:
    """Threads do not survive a fork; the child creates a new pool."""
    pytest.importorskip("numba")
    shapes = {"w": (400_000,)}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Noise(1, shapes).add_([torch.zeros(400_000)], 0, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of a fork with threads
            child = multiprocessing.get_context("fork").Process(
                target=Noise(1, shapes).add_, args=([torch.zeros(400_000)], 0, 1.0), daemon=True
            )
            child.start()
        child.join(60)
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)


def test_callers_in_many_threads_do_not_change_the_noise() -> None:
    """Models that train side by side in a process share the threads that draw."""
    names = [f"w{i}" for i in range(6)]
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        expected = [normal(1, "noise", 4, name, (300_000,)) for name in names]
        with ThreadPoolExecutor(6) as threads:
            found = list(
                threads.map(lambda name: normal(1, "noise", 4, name, (300_000,)), names * 3)
            )
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, found, expected * 3))
