"""Warnings of optimizers that share noise, and of ranks whose noise differs."""

import hashlib
import itertools
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from gradnoise._hook.torch_internals import default_store

N_NUMBERS = 64  # of each gradient, for its fingerprint


class Watch:
    """Compares an optimizer's noise with that of the process's other optimizers and of other ranks.

    Optimizers whose updates alternate belong to one training: then no two may draw the noise of one
    seed and name. Ranks belong to one training if their parameters are DTensors of one mesh, or if
    their gradients are equal at the first update, as with DDP: then all must draw the same noise.
    A rank writes its noise to the process group's store and does not wait for others.

    Args:
        optimizer: The optimizer, for messages.
    """

    _latest: ClassVar["weakref.ref[Watch] | None"] = None
    _first_updates: ClassVar["itertools.count[int]"] = itertools.count()

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._kind = type(optimizer).__name__
        self._has_updated = self._has_warned = False
        self._seed: object = None
        self._parameters: dict[str, weakref.ref[torch.Tensor]] = {}

    def is_due(self) -> bool:
        """Return whether `warnings` has something to compare before this update."""
        return not self._has_updated or Watch._latest is None or Watch._latest() is not self

    def warnings(
        self, parameters: Callable[[], Mapping[str, torch.Tensor]], noise: Mapping[str, object]
    ) -> list[str]:
        """Return the warnings before an update.

        Args:
            parameters: A function to the optimizer's parameters by name, whose gradients are
                without noise.
            noise: What the ranks must agree on, the seed among it, by its name.
        """
        found = []
        if not self._has_updated:
            found = _of_ranks(parameters(), noise, next(self._first_updates))
        if noise["seed"] != self._seed:
            self._seed = noise["seed"]
            self._parameters = {
                name: weakref.ref(parameter) for name, parameter in parameters().items()
            }
        latest = Watch._latest() if Watch._latest is not None else None
        if latest is not None and latest is not self and self._has_updated:
            found += self._of_shared_noise(latest)
        self._has_updated = True
        Watch._latest = weakref.ref(self)
        return found

    def _of_shared_noise(self, other: "Watch") -> list[str]:
        shared = [
            name
            for name, parameter in self._parameters.items()
            if name in other._parameters and other._parameters[name]() is not parameter()
        ]
        if self._seed != other._seed or not shared:
            return []
        # one warning suffices for the many optimizers of a training that steps in its backward pass
        is_known = self._has_warned or other._has_warned
        self._has_warned = other._has_warned = True
        if is_known:
            return []
        return [
            f"The parameter {shared[0]} of this {self._kind} and the parameter {shared[0]} of "
            f"another {other._kind} have the same noise, of seed={self._seed}: if both belong to "
            "one training, attach with different seeds, or with names=model.named_parameters(), "
            "where model contains all parameters."
        ]


def _of_ranks(
    parameters: Mapping[str, torch.Tensor], noise: Mapping[str, object], n_before: int
) -> list[str]:
    """Return a warning if another rank of the training has other noise.

    Args:
        parameters: The parameters by name.
        noise: What the ranks must agree on.
        n_before: The number of optimizers of this process that had their first update before.
    """
    store = default_store()
    if store is None:
        return []
    digest = hashlib.blake2b(repr((n_before, list(parameters))).encode(), digest_size=16)
    for parameter in parameters.values():
        digest.update(_fingerprint(parameter))
    here = ", ".join(f"{name}={value}" for name, value in noise.items())
    first = store.compare_set(f"gradnoise/{digest.hexdigest()}", "", here).decode()
    if first == here:
        return []
    return [
        f"The ranks add different noise, so their weights will differ: {here} on rank "
        f"{torch.distributed.get_rank()}, {first} on another rank. Attach with the same arguments, "
        "the seed included, and load the same checkpoint on all ranks."
    ]


def _fingerprint(parameter: Any) -> bytes:
    """Return bytes that agree on all ranks which must draw the same noise for the parameter."""
    if hasattr(parameter, "device_mesh"):
        return repr(parameter.device_mesh.mesh.tolist()).encode()
    gradient = parameter.grad
    if gradient is None or gradient.layout != torch.strided:
        return b""
    numbers = gradient.detach().flatten()[:N_NUMBERS].resolve_conj()
    if numbers.is_complex():
        numbers = torch.view_as_real(numbers)
    return bytes(numbers.to("cpu", torch.float64).numpy().tobytes())
