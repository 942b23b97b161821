"""What the operations of a model do that decides whether its trials can stack."""

import traceback
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Observed(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Observes the operations within its context.

    Attributes:
        draw: The line of the first operation that draws random numbers; empty without one.
        eps: The largest rounding error among the floating-point types of the results.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.draw = ""
        self.eps = 0.0

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if not self.draw and torch.Tag.nondeterministic_seeded in operation.tags:
            self.draw = line_of(traceback.extract_stack())
        results = operation(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else (results,):
            if isinstance(result, torch.Tensor) and result.is_floating_point():
                self.eps = max(self.eps, torch.finfo(result.dtype).eps)
        return results


def line_of(frames: traceback.StackSummary) -> str:
    """Return the last line outside torch and this package, as `at file:number, code: `; empty if
    there is none.
    """
    folders = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    outside = [frame for frame in frames if not frame.filename.startswith(folders)]
    if not outside:  # as in the backward pass
        return ""
    return f"at {Path(outside[-1].filename).name}:{outside[-1].lineno}, `{outside[-1].line}`: "
