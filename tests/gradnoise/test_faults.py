"""Nine faults of public implementations of gradient noise.

For each fault there is a check of an implementation in a small training loop. The check passes for
`attach` and for a correct implementation by hand; it fails for each variant with the fault.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch.nn import Parameter

from gradnoise import attach

ETA, GAMMA = 0.3, 0.55
N = 20_000

Losses = Sequence[Callable[[], torch.Tensor]]


class Training:
    """Updates by SGD without noise, with methods that an implementation overrides."""

    def __init__(self, parameters: Mapping[str, Parameter], *, seed: int, lr: float = 1.0) -> None:
        self.parameters = parameters
        self.optimizer = torch.optim.SGD(parameters.items(), lr=lr)
        self.seed = seed
        self.t = 0

    def after_backward(self) -> None:
        """Act after the backward pass of a micro-batch."""

    def before_clipping(self) -> None:
        """Act on the gradient of all micro-batches."""

    def after_clipping(self) -> None:
        """Act on the gradient that the optimizer receives."""

    def after_step(self) -> None:
        """Act on the new weights."""

    def update(
        self, losses: Losses, *, max_norm: float | None = None, with_closure: bool = False
    ) -> None:
        """Do an update on the sum of the micro-batches' losses."""

        def closure() -> None:
            self.optimizer.zero_grad()
            for loss in losses:
                loss().backward()
                self.after_backward()
            self.before_clipping()
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.parameters.values(), max_norm)
            self.after_clipping()

        if with_closure:
            self.optimizer.step(closure)
        else:
            closure()
            self.optimizer.step()
        self.after_step()
        self.t += 1


class Attached(Training):
    """The library."""

    def __init__(self, parameters: Mapping[str, Parameter], *, seed: int, lr: float = 1.0) -> None:
        super().__init__(parameters, seed=seed, lr=lr)
        attach(self.optimizer, eta=ETA, gamma=GAMMA, seed=seed)


class ByHand(Training):
    """The noise of the paper, with methods that a fault overrides."""

    def __init__(self, parameters: Mapping[str, Parameter], *, seed: int, lr: float = 1.0) -> None:
        super().__init__(parameters, seed=seed, lr=lr)
        self.generator = torch.Generator().manual_seed(seed)

    def std(self) -> float:
        return math.sqrt(ETA / (1 + self.t) ** GAMMA)

    def draw(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=self.generator)

    def add(self) -> None:
        for parameter in self.parameters.values():
            assert parameter.grad is not None
            parameter.grad += self.std() * self.draw(parameter)

    def after_clipping(self) -> None:
        self.add()


Implementation = type[Training]


def assert_detects(check: Callable[[Implementation], None], *faulty: Implementation) -> None:
    check(Attached)
    check(ByHand)
    for implementation in faulty:
        with pytest.raises(AssertionError):
            check(implementation)


def flat(parameter: Parameter) -> Losses:
    """Return a loss whose gradient is 0."""
    return [lambda: (0.0 * parameter).sum()]


def moves(
    implementation: Implementation, n_updates: int = 1, lr: float = 1.0
) -> list[torch.Tensor]:
    """Return the changes of N weights with gradient 0, divided by the learning rate and negated."""
    weight = Parameter(torch.zeros(N))
    training = implementation({"weight": weight}, seed=1, lr=lr)
    found = []
    for _ in range(n_updates):
        before = weight.detach().clone()
        training.update(flat(weight))
        found.append((before - weight.detach()).double() / lr)
    return found


def assert_variance(drawn: torch.Tensor, expected: float) -> None:
    """Assert the variance of n normal draws, within five standard errors of sqrt(2 / (n - 1))."""
    assert abs(float(drawn.var()) / expected - 1) < 5 * math.sqrt(2 / (drawn.numel() - 1))


class EtaIsAStd(ByHand):
    def std(self) -> float:
        return ETA / (1 + self.t) ** (GAMMA / 2)


class NoRoot(ByHand):
    def std(self) -> float:
        return ETA / (1 + self.t) ** GAMMA


def test_1_eta_is_a_variance() -> None:
    """The variance at the first update is eta, 0.3, not 0.09."""

    def check(implementation: Implementation) -> None:
        assert_variance(moves(implementation)[0], ETA)

    assert_detects(check, EtaIsAStd, NoRoot)


class NoiseBeforeClipping(ByHand):
    def before_clipping(self) -> None:
        self.add()

    def after_clipping(self) -> None:
        pass


def test_2_noise_comes_after_clipping() -> None:
    """The variance of a gradient clipped to norm 1 plus noise of norm sqrt(0.3 N) = 77 is that of
    the noise; if both were clipped, it would be 1 / N.
    """

    def check(implementation: Implementation) -> None:
        weight = Parameter(torch.zeros(N))
        implementation({"weight": weight}, seed=1).update(
            [lambda: (100.0 * weight).sum()], max_norm=1.0
        )
        assert_variance(weight.detach().double(), ETA)

    assert_detects(check, NoiseBeforeClipping)


class Constant(ByHand):
    def std(self) -> float:
        return math.sqrt(ETA)


def test_3_noise_is_annealed() -> None:
    """The variance at the 31st update is eta / 31^gamma, 0.15 of the first variance."""

    def check(implementation: Implementation) -> None:
        assert_variance(moves(implementation, 31)[-1], ETA / 31**GAMMA)

    assert_detects(check, Constant)


class NoiseAfterTheLearningRate(ByHand):
    def after_clipping(self) -> None:
        pass

    def after_step(self) -> None:
        for parameter in self.parameters.values():
            parameter.data -= self.std() * self.draw(parameter)


def test_4_noise_comes_before_the_learning_rate() -> None:
    """The update is the learning rate, 0.1, times the noise; without that factor its variance would
    be 100 times as large.
    """

    def check(implementation: Implementation) -> None:
        assert_variance(moves(implementation, lr=0.1)[0], ETA)

    assert_detects(check, NoiseAfterTheLearningRate)


class NoiseOnEveryMicroBatch(ByHand):
    def after_backward(self) -> None:
        self.add()

    def after_clipping(self) -> None:
        pass


class CountsMicroBatches(ByHand):
    def after_backward(self) -> None:
        self.t += 1


def test_5_noise_is_added_once_per_update_under_accumulation() -> None:
    """With four micro-batches, the variance of the first two updates is eta / (1 + t)^gamma, not
    four times that.
    """

    def check(implementation: Implementation) -> None:
        weight = Parameter(torch.zeros(N))
        training = implementation({"weight": weight}, seed=1)
        for t in range(2):
            before = weight.detach().clone()
            training.update([*flat(weight)] * 4)
            assert_variance((before - weight.detach()).double(), ETA / (1 + t) ** GAMMA)

    assert_detects(check, NoiseOnEveryMicroBatch, CountsMicroBatches)


class Truncated(ByHand):
    def draw(self, like: torch.Tensor) -> torch.Tensor:
        return torch.nn.init.trunc_normal_(
            torch.empty(like.shape), a=-2.0, b=2.0, generator=self.generator
        )


class TruncatedAndScaledUp(Truncated):
    """The variance is right, the tails are not."""

    def draw(self, like: torch.Tensor) -> torch.Tensor:
        return super().draw(like) / 0.8796


def test_6_noise_is_not_truncated() -> None:
    """The number of draws beyond 2.5 standard deviations is n p with p = erfc(2.5 / sqrt(2)),
    within five standard errors of sqrt(n p (1 - p)).
    """

    def check(implementation: Implementation) -> None:
        (drawn,) = moves(implementation)
        share = math.erfc(2.5 / math.sqrt(2))
        beyond = int((drawn.abs() > 2.5 * math.sqrt(ETA)).sum())
        assert abs(beyond - N * share) < 5 * math.sqrt(N * share * (1 - share))

    assert_detects(check, Truncated, TruncatedAndScaledUp)


class Rebinding(ByHand):
    def add(self) -> None:
        gradients = [parameter.grad for parameter in self.parameters.values()]
        for gradient in gradients:
            assert gradient is not None
            gradient = gradient + self.std() * self.draw(gradient)


class PlainStepHook(ByHand):
    """A hook before the step: a closure's backward pass then replaces the noisy gradient."""

    def __init__(self, parameters: Mapping[str, Parameter], *, seed: int, lr: float = 1.0) -> None:
        super().__init__(parameters, seed=seed, lr=lr)
        self.optimizer.register_step_pre_hook(lambda *_: self.add())

    def after_clipping(self) -> None:
        pass

    def add(self) -> None:
        for parameter in self.parameters.values():
            if parameter.grad is not None:
                parameter.grad += self.std() * self.draw(parameter)


def test_7_noise_reaches_the_weights_with_a_closure_too() -> None:
    def check(implementation: Implementation) -> None:
        for with_closure in (False, True):
            weight = Parameter(torch.zeros(N))
            implementation({"weight": weight}, seed=1).update(
                flat(weight), with_closure=with_closure
            )
            assert_variance(weight.detach().double(), ETA)

    assert_detects(check, Rebinding, PlainStepHook)


class AttachedToSparse(Training):
    def __init__(self, parameters: Mapping[str, Parameter], *, seed: int, lr: float = 1.0) -> None:
        super().__init__(parameters, seed=seed, lr=lr)
        attach(self.optimizer, eta=ETA, gamma=GAMMA, seed=seed, allow=["sparse"])


class MadeDense(ByHand):
    def add(self) -> None:
        for parameter in self.parameters.values():
            assert parameter.grad is not None
            parameter.grad = parameter.grad.to_dense() + self.std() * self.draw(parameter)


def test_8_sparse_gradients_stay_sparse() -> None:
    """Of a table of 10 rows, the looked-up rows 2 and 5 get noise of the right variance; the
    padding row, also looked up, stays 0.
    """

    def check(implementation: Implementation) -> None:
        table = torch.nn.Embedding(10, N, padding_idx=0, sparse=True)
        before = table.weight.detach().clone()
        implementation(dict(table.named_parameters()), seed=1).update(
            [lambda: 0.0 * table(torch.tensor([0, 2, 5, 5])).sum()]
        )
        moved = (before - table.weight.detach()).double()
        assert moved.any(dim=1).nonzero().flatten().tolist() == [2, 5]
        assert not table.weight[0].any()
        assert_variance(moved[[2, 5]], ETA)

    check(AttachedToSparse)
    with pytest.raises(AssertionError):
        check(MadeDense)


class OneSeed(ByHand):
    def draw(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


class OneSeedForEveryRun(ByHand):
    def __init__(self, parameters: Mapping[str, Parameter], *, seed: int, lr: float = 1.0) -> None:
        super().__init__(parameters, seed=0, lr=lr)


class OneSeedForEveryLayer(ByHand):
    def draw(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(
            like.shape, generator=torch.Generator().manual_seed(1_000 * self.seed + self.t)
        )


def test_9_the_noise_of_runs_layers_and_updates_is_independent() -> None:
    """The noise of two runs on two layers at two updates: with n draws each, every correlation is
    below 5 / sqrt(n).
    """

    def check(implementation: Implementation) -> None:
        drawn = []
        for seed in (1, 2):
            layers = {name: Parameter(torch.zeros(N)) for name in ("first", "second")}
            training = implementation(layers, seed=seed)
            for _ in range(2):
                before = [layer.detach().clone() for layer in layers.values()]
                training.update(
                    [lambda layers=layers: sum((0.0 * layer).sum() for layer in layers.values())]
                )  # type: ignore[misc]
                drawn += [
                    start - layer.detach()
                    for start, layer in zip(before, layers.values(), strict=True)
                ]
        correlations = torch.corrcoef(torch.stack(drawn).double()) - torch.eye(len(drawn))
        assert float(correlations.abs().max()) < 5 / math.sqrt(N)

    assert_detects(check, OneSeed, OneSeedForEveryRun, OneSeedForEveryLayer)


def test_9_there_is_no_default_seed() -> None:
    with pytest.raises(TypeError, match="seed"):
        attach(torch.optim.SGD([Parameter(torch.zeros(1))]), eta=ETA)  # type: ignore[call-arg]
