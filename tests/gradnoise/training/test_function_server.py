import pytest
import torch

from gradnoise.training import function_server


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # newer Pythons'
@pytest.mark.parametrize(
    ("fault", "may_fork"),
    [
        ("", True),
        ("torch 2.13.0: No CUDA GPUs are available", True),
        ("torch 2.13.0: Cannot re-initialize CUDA in forked subprocess.", False),
        ("torch 2.13.0: CUDA error: initialization error", False),
        (None, False),
    ],
)
def test_trials_are_forked_where_cuda_starts_in_a_copy(
    fault: str | None, may_fork: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that counts GPUs when it is imported may prevent that."""

    def answer() -> str:
        if fault is None:
            raise ValueError("another exception must not let the copy go on")
        return fault

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(function_server, "cuda_fault", answer)
    assert function_server._can_copies_use_cuda() is may_fork
