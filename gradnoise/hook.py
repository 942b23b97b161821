"""Gradient noise for any torch optimizer: `attach` it, train as before."""

import functools
import itertools
import math
import operator
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from gradnoise.noise import Noise, NoiseProcess
from gradnoise.parts import Part, of_shard, of_sparse
from gradnoise.schedules import Schedule, annealed

KEY = "gradnoise_t"
KINDS = ("sparse", "complex")
# of the wrapper around the step of every class
FIRES_HOOKS = torch.optim.Optimizer.profile_hook_step(len).__code__


def attach(
    optimizer: torch.optim.Optimizer,
    *,
    seed: int,
    eta: float | None = None,
    gamma: float = 0.55,
    schedule: Schedule | None = None,
    injection: NoiseProcess | None = None,
    allow: Collection[str] = (),
    measure_ratio: bool = False,
) -> "GradientNoise":
    """Add g <- g + N(0, std_t^2) to every gradient just before each update of the optimizer;
    std_t^2 = eta / (1 + t)^gamma.

    The method of Neelakantan et al. 2015, arXiv:1511.06807. The noise comes after whatever the
    training loop does to gradients before `optimizer.step()`, such as clipping and the sum over
    micro-batches, and before the learning rate, momentum and weight decay; step hooks registered
    later run after it. It stays in `.grad` until that is zeroed. It is independent for every
    coordinate and a function of seed, t and the parameter's name and element alone, so replicas
    that agree on the seed agree on the noise. Names are those that the optimizer was given
    (`SGD(model.named_parameters(), ...)`), else `<group>.<index>`. t goes into the optimizer's
    checkpoints too. It makes no promise of differential privacy.

    Args:
        optimizer: Any torch optimizer but LBFGS, whose line search needs the same gradient for the
            same weights; of a wrapper with an `.optimizer`, such as Accelerate's, or a
            `.base_optimizer`, such as SAM's, the innermost. A copy by `deepcopy` or pickle loses
            its hooks: then `reattach`.
        seed: Seeds the noise; at least 0. There is no default: runs that share a seed share their
            noise, and so do two optimizers whose parameters share names.
        eta: Variance at t = 0, in squared gradient units; at least 0.
        gamma: Decay exponent, dimensionless; at least 0. The paper uses 0.55.
        schedule: A function from t, at least 0, to the standard deviation, in gradient units and at
            least 0; in place of eta and gamma.
        injection: Noise of another form, such as `anticorrelated` or `preconditioned`, in place of
            eta and gamma.
        allow: Kinds of gradients that are refused otherwise: `sparse` gets noise on the rows that
            it holds alone, `complex` on the real and the imaginary part, each of standard deviation
            std_t.
        measure_ratio: Measure `ratio` at each update.

    Returns:
        The handle; `remove()` it, or use it as a context manager, to end the noise.

    Raises:
        TypeError: If the optimizer is LBFGS, shards its state by ZeRO, or is no torch optimizer, or
            the seed is no integer.
        ValueError: If not exactly one of eta, schedule and injection is given, a value is out of
            range, the optimizer has noise already, or two of its parameters share a name. An update
            raises TypeError on a gradient of a kind that is not allowed, and warns, once, if no
            parameter has a gradient.

    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    >>> noise = attach(optimizer, eta=0.01, gamma=0.55, seed=1)
    >>> model(torch.ones(2, 3)).sum().backward()
    >>> noise.t, round(noise.std, 3)
    (0, 0.1)
    >>> optimizer.step()
    >>> noise.t, round(noise.std, 3)
    (1, 0.083)
    """
    given = [one for one in (eta, schedule, injection) if one is not None]
    if len(given) != 1:
        raise ValueError(
            f"give exactly one of eta, schedule and injection, but got {eta=}, {schedule=} and "
            f"{injection=}."
        )
    if not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be an integer, but got {seed=}.")
    seed = int(operator.index(seed))
    if seed < 0:
        raise ValueError(f"seed must be at least 0, but got {seed=}.")
    unknown = sorted(set(allow) - set(KINDS))
    if unknown:
        raise ValueError(f"allow must name kinds among {', '.join(KINDS)}, but got {unknown[0]!r}.")
    if eta is not None:
        schedule = annealed(eta, gamma)
    if schedule is not None:
        injection = NoiseProcess.of(schedule)
    assert injection is not None  # one of the three is given
    return GradientNoise(optimizer, seed, injection, allow, measure_ratio)


class GradientNoise:
    """The noise on one optimizer; `attach` makes it.

    Attributes:
        seed: Seeds the noise; at least 0.
        ratio: std / ||g|| of the last update, dimensionless, infinite if ||g|| is 0; ||g|| is the
            global L2 norm of the gradients before their noise. None unless it is measured. It tells
            noise of one loss's scale from that of another's: a summed loss has larger gradients
            than a mean one.

    >>> weight = torch.nn.Parameter(torch.zeros(4))
    >>> optimizer = torch.optim.SGD([("weight", weight)], lr=1.0)
    >>> with attach(optimizer, eta=0.04, seed=1, measure_ratio=True) as noise:
    ...     weight.grad = torch.full((4,), 5.0)
    ...     optimizer.step()
    >>> round(noise.ratio, 3), noise.state_dict(), noise.is_attached(optimizer)
    (0.02, {'t': 1, 'seed': 1}, False)
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        seed: int,
        injection: NoiseProcess,
        allow: Collection[str],
        measure_ratio: bool,
    ) -> None:
        self.seed = seed
        self.ratio: float | None = None
        self._t = 0
        self._injection = injection
        self._allow = allow
        self._measure_ratio = measure_ratio
        self._parameters: Sequence[torch.Tensor] = ()
        self._names: tuple[str, ...] = ()
        # whether the noise is for all parameters, and nothing but noise is to be added
        self._is_plain = False
        self._noise: tuple[tuple[object, ...], Noise] | None = None
        self._states: dict[str, torch.Tensor] = {}
        self._held: Sequence[object] | None = None
        self._is_paused = self._has_warned = False
        # of the steps under way, outermost first, whether each is an update of its own
        self._updates: list[bool] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self.reattach(optimizer)

    @property
    def t(self) -> int:
        """Updates done so far; the next update's noise is that of t."""
        # the groups know best: a wrapper such as SAM loads them past the optimizer's own
        # load_state_dict
        return int(self._optimizer.param_groups[0].get(KEY, self._t)) if self._hooks else self._t

    @property
    def std(self) -> float:
        """The standard deviation of the next update's noise, in gradient units, before any
        preconditioner.
        """
        return self._injection.size(self.t)

    def reattach(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the noise to another optimizer, such as a copy or one restored from a file; t is the
        one that it carries, if it carries one.

        Raises:
            TypeError: If the optimizer cannot have noise.
            ValueError: If it has noise already, or two of its parameters share a name.
        """
        optimizer = _innermost(optimizer)
        _check(optimizer)
        if any(
            isinstance(getattr(hook, "__self__", None), GradientNoise)
            for hook in optimizer._optimizer_step_pre_hooks.values()
        ):
            raise ValueError("the optimizer has noise already: remove() that first.")
        self.remove()
        _exclude_hooks_from_compilation()
        self._optimizer = optimizer
        self._parameters, self._noise = (), None
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
            optimizer.register_load_state_dict_post_hook(self._take_t),
        ]
        self._take_t(optimizer)

    def is_attached(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether this optimizer's updates get the noise."""
        return (
            bool(self._hooks)
            and self._hooks[0].id in _innermost(optimizer)._optimizer_step_pre_hooks
        )

    def remove(self) -> None:
        """End the noise; the optimizer goes on without."""
        if self._hooks:
            self._t = self.t
            for group in self._optimizer.param_groups:
                group.pop(KEY, None)
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the optimizer's steps pass without noise and uncounted."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs so that training resumes with the same noise; the schedule
        is the configuration's.
        """
        return {"t": self.t, "seed": self.seed} | (
            {"states": dict(self._states)} if self._states else {}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up update count and seed, and the preconditioner's state if there is one, from what
        `state_dict` returned.
        """
        self.seed, self._is_plain = int(state["seed"]), False
        self._states = {name: tensor.clone() for name, tensor in state.get("states", {}).items()}
        self._set_t(int(state["t"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def _set_t(self, t: int) -> None:
        self._t = t
        if self._hooks:
            for group in self._optimizer.param_groups:
                group[KEY] = t

    def _take_t(self, _optimizer: torch.optim.Optimizer) -> None:
        self._set_t(self.t)

    def _before(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        is_update = not self._passes(optimizer)
        if is_update:
            self._updates, self._held = [], None  # forgets steps that raised
        self._updates.append(is_update)
        if not is_update:
            return None
        if kwargs.get("grad_scaler") is not None:
            raise TypeError(
                f"{type(optimizer).__name__} takes a GradScaler to unscale its gradients in "
                "secret: use one that need not."
            )
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            self._add()
            return None
        noisy = self._after_closure(closure)
        return (
            (args, kwargs | {"closure": noisy})
            if "closure" in kwargs
            else ((args[0], noisy, *args[2:]), kwargs)
        )

    def _after(
        self, optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]
    ) -> None:
        # there is none of a step within which it was attached
        if self._updates and self._updates.pop():
            if self._held is None:
                self._warn_once(
                    "The optimizer never called the closure that its step was given, so the "
                    "update was made without noise.",
                    5,
                )
            self._held = None
            self._set_t(self.t + 1)

    def _passes(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether this step is none that updates the weights: a fused optimizer under GradScaler
        skips those with infinite gradients.
        """
        is_inner = bool(self._updates) and _is_inner(optimizer)  # or else the step before raised
        return (
            self._is_paused
            or is_inner
            or _is_phantom(optimizer)
            or bool(getattr(optimizer, "found_inf", False))
        )

    def _after_closure(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        # the closure may be compiled with the step
        add = torch.compiler.disable(self._add)  # type: ignore[no-untyped-call]

        def noisy() -> Any:
            with torch.enable_grad():
                loss = closure()
            add()
            return loss

        return noisy

    def _add(self) -> None:
        parameters = [
            parameter for group in self._optimizer.param_groups for parameter in group["params"]
        ]
        if len(parameters) != len(self._parameters) or not all(
            map(operator.is_, parameters, self._parameters)
        ):
            self._parameters, self._names, self._is_plain = (
                parameters,
                _names(self._optimizer),
                False,
            )
        gradients = [parameter.grad for parameter in parameters]
        # till the update is done: to make the Python object of a gradient anew takes a microsecond
        self._held = gradients
        # of a fused optimizer under GradScaler: its gradients are multiplied by it
        scale = getattr(self._optimizer, "grad_scale", None)
        grad_scale = 1.0 if scale is None else float(scale)
        terms = [(t, float(std) * grad_scale) for t, std in self._injection.terms(self.t)]
        made_for, noise = self._noise or ((None,), None)
        is_same = self._is_plain and made_for[0] == self.seed
        if (
            noise is not None
            and is_same
            and all(noise.add_plain_(gradients, t, std) for t, std in terms)
        ):
            return
        self._add_to_any(parameters, terms, grad_scale)

    @torch.no_grad()
    def _add_to_any(
        self,
        parameters: Sequence[torch.Tensor],
        terms: Sequence[tuple[int, float]],
        grad_scale: float,
    ) -> None:
        names, tensors, parts = self._unwrap(parameters)
        if not tensors:
            self._warn_once(
                "No parameter of the optimizer has a gradient, so none got noise: call backward() "
                "first. Under DeepSpeed's ZeRO gradients "
                "are kept where no hook sees them: use DDP or FSDP2.",
                stacklevel=8,  # the line that called step()
            )
            return
        if self._measure_ratio:
            norm = _norm(parameters)
            self.ratio = self.std * grad_scale / norm if norm else math.inf
        made_for = self.seed, names, [tensor.numel() for tensor in tensors], parts
        if self._noise is None or self._noise[0] != made_for:
            shapes = {name: tensor.shape for name, tensor in zip(names, tensors, strict=True)}
            self._noise = made_for, Noise(self.seed, shapes, parts=parts)
        is_bare = not (parts or self._measure_ratio or self._injection.preconditioner)
        self._is_plain = is_bare and len(tensors) == len(parameters)
        scales = self._scales(names, tensors, grad_scale)
        for t, std in terms:
            self._noise[1].add_(tensors, t, std, scales)

    def _unwrap(
        self, parameters: Sequence[torch.Tensor]
    ) -> tuple[tuple[str, ...], list[torch.Tensor], dict[str, Part]]:
        """Return the names of the parameters that have a gradient, what to add to in place, and
        which part of its parameter that is.
        """
        tensors, parts = {}, {}
        seen: set[int] = set()
        for name, parameter in zip(self._names, parameters, strict=True):
            if parameter.grad is None:
                continue
            tensor, part = self._in_place(name, parameter)
            # gradients of parameters that are added up often share their memory
            if tensor.data_ptr() in seen:
                parameter.grad = parameter.grad.clone()
                tensor, part = self._in_place(name, parameter)
            seen.add(tensor.data_ptr())
            tensors[name] = tensor
            if part is not None:
                parts[name] = part
        return tuple(tensors), list(tensors.values()), parts

    def _in_place(self, name: str, parameter: Any) -> tuple[torch.Tensor, Part | None]:
        """Return the tensor in which the parameter's gradient can be changed, and which part of the
        parameter that is, if not all.
        """
        gradient = parameter.grad
        if hasattr(gradient, "to_local"):  # a DTensor, as of FSDP2
            return of_shard(name, gradient)
        if gradient.layout != torch.strided:
            self._refuse_unless_allowed("sparse", name)
            parameter.grad, values, part = of_sparse(name, gradient)
            return values, part
        if any(
            stride == 0 and size > 1
            for stride, size in zip(gradient.stride(), gradient.shape, strict=True)
        ):
            # expanded: many elements in one place, where they could not differ
            parameter.grad = gradient = gradient.contiguous()
        if gradient.is_complex():
            self._refuse_unless_allowed("complex", name)
            parameter.grad = gradient = gradient.resolve_conj()
            return torch.view_as_real(gradient), None
        return gradient, None

    def _refuse_unless_allowed(self, kind: str, name: str) -> None:
        if kind not in self._allow or (kind == "sparse" and self._injection.preconditioner):
            raise TypeError(
                f"the gradient of {name} is {kind}: give attach(..., allow=[{kind!r}]) if it is to "
                "have noise, "
                "without a preconditioner if it is sparse, or keep the parameter in an optimizer "
                "of its own."
            )

    def _scales(
        self, names: Sequence[str], gradients: Sequence[torch.Tensor], grad_scale: float
    ) -> list[torch.Tensor] | None:
        preconditioner = self._injection.preconditioner
        if preconditioner is None:
            return None
        scales = []
        for name, gradient in zip(names, gradients, strict=True):
            state = self._states.get(name)
            if state is None:
                state = torch.zeros(gradient.shape, dtype=torch.float32, device=gradient.device)
            self._states[name] = state = state.to(gradient.device)
            preconditioner.update_(state, gradient / grad_scale)
            scales.append(preconditioner.scale(state))
        return scales

    def _warn_once(self, message: str, stacklevel: int) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(message, stacklevel=stacklevel)


@functools.cache
def _exclude_hooks_from_compilation() -> None:
    """Let torch.compile leave the hooks alone; not before there is an optimizer, for which torch
    has loaded its compiler already.
    """
    for name in ("_before", "_after"):
        # of torch
        setattr(GradientNoise, name, torch.compiler.disable(getattr(GradientNoise, name)))  # type: ignore[no-untyped-call]


def _innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    within = [getattr(optimizer, name, None) for name in ("optimizer", "base_optimizer")]
    inner = next((one for one in within if isinstance(one, torch.optim.Optimizer)), None)
    if inner is None:
        return optimizer
    if not _identities(getattr(optimizer, "param_groups", ())) <= _identities(inner.param_groups):
        names = type(optimizer).__name__, type(inner).__name__
        raise TypeError(
            f"{names[0]} updates parameters that the {names[1]} within it does not: it is no "
            "wrapper that noise can be put into."
        )
    return _innermost(inner)


def _identities(groups: Sequence[Mapping[str, Any]]) -> set[int]:
    return {id(parameter) for group in groups for parameter in group["params"]}


def _check(optimizer: torch.optim.Optimizer) -> None:
    """Refuse optimizers whose gradients the hook would not see, or not see rightly."""
    kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(optimizer).__mro__]
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            "optimizer must not be LBFGS: its line search evaluates several gradients in one "
            "update."
        )
    if any(
        kind.startswith("deepspeed.") or kind.endswith(".ZeroRedundancyOptimizer") for kind in kinds
    ):
        raise TypeError(
            f"optimizer must not shard its state by ZeRO, as {kinds[0]} does: use DDP, or FSDP2's "
            "fully_shard."
        )
    if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer with step hooks, but got {kinds[0]}."
        )
    _names(optimizer)
    for name, parameter in _named_parameters(optimizer):
        if getattr(parameter, "_fsdp_flattened", False) or getattr(
            parameter, "_is_flat_param", False
        ):
            raise TypeError(
                f"the parameter {name} is sharded by FullyShardedDataParallel, which hides its "
                "elements: use FSDP2's fully_shard."
            )


def _named_parameters(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        names = group.get("param_names") or (f"{g}.{i}" for i in itertools.count())
        yield from zip(names, group["params"], strict=False)


def _names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Return the names of all parameters, in order.

    Raises:
        ValueError: If two share one.
    """
    names = tuple(name for name, _ in _named_parameters(optimizer))
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"two parameters of the optimizer are named {name!r}: they would share their noise."
        )
    return names


def _norm(parameters: Sequence[torch.Tensor]) -> float:
    norm = torch.nn.utils.get_total_norm(
        [_measurable(parameter.grad) for parameter in parameters if parameter.grad is not None]
    )
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _measurable(gradient: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the gradient's norm that torch can take, and not in half precision, where
    the sum would be coarse or infinite.
    """
    if gradient.layout != torch.strided:
        gradient = gradient.values()
    return (
        torch.linalg.vector_norm(gradient, dtype=torch.float32)
        if gradient.dtype in (torch.float16, torch.bfloat16)
        else gradient
    )


def _is_inner(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this step is part of another of the same optimizer, as a subclass's may call
    super().step(): the outermost counts.
    """
    steps = [frame for frame in _frames() if frame.f_code is FIRES_HOOKS]
    return any(frame.f_locals["args"][0] is optimizer for frame in steps[1:])


def _is_phantom(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this step is that by which torch's distributed checkpoint makes an optimizer's state,
    at learning rate 0.
    """
    rates = [group.get("lr", 0.0) for group in optimizer.param_groups]
    if any(not isinstance(rate, torch.Tensor) and rate != 0 for rate in rates):
        return False
    return any(
        frame.f_code.co_name == "_init_optim_state"
        and frame.f_globals["__name__"].startswith("torch.")
        for frame in _frames()
    )


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back
