"""Real fits of Lightning with the callback, compared with loops by hand with `attach`."""

import copy
import csv
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gradnoise import annealed, attach, preconditioned

pytest.importorskip("lightning.pytorch")

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
)
from lightning.pytorch.loggers import CSVLogger

from gradnoise.integrations.lightning import GradientNoiseCallback

pytestmark = [
    # few workers, few batches
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
    # Lightning's own use of torch
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
]

NOISE: dict[str, Any] = {"eta": 0.3, "gamma": 0.55, "seed": 1}
N_BATCHES = 6
BATCHES = TensorDataset(
    torch.linspace(-1, 1, 24 * 3).view(24, 3), torch.linspace(1, -1, 24).view(24, 1)
)


class Net(LightningModule):
    """A small net; subclasses create the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
        )
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(
                    torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter) + 0.1 * i
                )

    def loss(self, batch: Iterable[torch.Tensor]) -> torch.Tensor:
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layers(inputs), targets)

    def training_step(self, batch: Iterable[torch.Tensor], _i: int) -> torch.Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.named_parameters(), lr=0.05)


class NetWithoutNames(Net):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def batches() -> DataLoader[Any]:
    return DataLoader(BATCHES, batch_size=len(BATCHES) // N_BATCHES)


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        **(quiet | {"max_epochs": 2} | options),
    )


def by_hand(
    model: Net, noise: Mapping[str, Any] = NOISE, accumulate: int = 1, clip: float | None = None
) -> Net:
    optimizer = model.configure_optimizers()
    with attach(optimizer, **noise, names=model.named_parameters()):
        for _ in range(2):
            for i, batch in enumerate(batches()):
                (model.loss(batch) / accumulate).backward()
                if (i + 1) % accumulate == 0:
                    if clip is not None:
                        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                    optimizer.step()
                    optimizer.zero_grad()
    return model


def assert_same_weights(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    assert all(map(torch.equal, found.parameters(), expected.parameters()))


@pytest.mark.parametrize("net", [Net, NetWithoutNames])
def test_a_fit_equals_the_loop_by_hand(net: type[Net], tmp_path: Path) -> None:
    """To the bit, although Lightning passes a closure to every step; a fit without
    noise differs.
    """
    model, plain, noise = net(), net(), GradientNoiseCallback(**NOISE)
    trainer(tmp_path, noise).fit(model, batches())
    trainer(tmp_path).fit(plain, batches())
    assert_same_weights(model, by_hand(net()))
    assert [handle.t for handle in noise.noises] == [2 * N_BATCHES]
    assert not any(
        torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    )


def test_noise_is_added_after_clipping_and_once_per_accumulated_update(tmp_path: Path) -> None:
    """Clipping leaves almost nothing of the gradients, so the updates consist of noise."""
    model, noise = Net(), GradientNoiseCallback(**NOISE)
    trainer(tmp_path, noise, accumulate_grad_batches=3, gradient_clip_val=1e-6).fit(
        model, batches()
    )
    assert_same_weights(model, by_hand(Net(), accumulate=3, clip=1e-6))
    assert noise.noises[0].t == 2 * N_BATCHES / 3


@pytest.mark.parametrize(
    "noise",
    [NOISE, {"process": preconditioned(eta=0.3, gamma=0.55), "seed": 1}],
    ids=["annealed", "preconditioned"],
)
def test_a_fit_resumed_from_a_checkpoint_equals_an_uninterrupted_fit(
    tmp_path: Path, noise: dict[str, Any]
) -> None:
    """The checkpoint of preconditioned noise contains the mean squared gradients too."""
    first = trainer(tmp_path, GradientNoiseCallback(**noise), max_epochs=1)
    first.fit(Net(), batches())
    first.save_checkpoint(tmp_path / "half.ckpt")
    model, callback = Net(), GradientNoiseCallback(**noise)
    trainer(tmp_path, callback).fit(model, batches(), ckpt_path=tmp_path / "half.ckpt")
    assert_same_weights(model, by_hand(Net(), noise))
    assert callback.noises[0].t == 2 * N_BATCHES


def test_a_new_fit_after_a_test_on_a_checkpoint_starts_at_t_zero(
    tmp_path: Path,
) -> None:
    """The checkpoint's t belongs to the tested weights."""

    class Tested(Net):
        def test_step(self, batch: Iterable[torch.Tensor]) -> torch.Tensor:
            return self.loss(batch)

    noise = GradientNoiseCallback(**NOISE)
    fits = trainer(tmp_path, noise)
    fits.fit(Tested(), batches())
    fits.save_checkpoint(tmp_path / "whole.ckpt")
    fits.test(Tested(), batches(), ckpt_path=tmp_path / "whole.ckpt", verbose=False)
    model = Net()
    trainer(tmp_path, noise).fit(model, batches())
    assert_same_weights(model, by_hand(Net()))


def test_the_state_may_be_restored_after_the_optimizers_are_created(tmp_path: Path) -> None:
    """Strategies that shard the model restore the callbacks after fitting has started."""
    first = GradientNoiseCallback(**NOISE)
    trainer(tmp_path, first, max_epochs=1).fit(Net(), batches())
    state = copy.deepcopy(first.state_dict())
    seen = []

    class Late(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            noise.load_state_dict(state)
            seen.append(noise.noises[0].t)

    noise = GradientNoiseCallback(**NOISE)
    trainer(tmp_path, noise, Late()).fit(Net(), batches())
    assert seen == [N_BATCHES]
    assert noise.noises[0].t == 3 * N_BATCHES


class TwoOptimizers(Net):
    """A net whose two layers, of the same shape, have two optimizers whose parameters
    have the same names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3)
        )

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.layers[i].named_parameters(), lr=0.1) for i in (0, 2)]

    # a manual step returns nothing
    def training_step(self, batch: Iterable[torch.Tensor], _i: int) -> None:  # type: ignore[override]
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(0 * self.loss((next(iter(batch)), torch.zeros(4, 3))))
            optimizer.step()


def test_several_optimizers_have_different_noise(tmp_path: Path) -> None:
    """With gradients of 0 the updates consist of noise, that of `attach` with a
    different seed per optimizer.
    """
    model = TwoOptimizers()
    hand, noise = copy.deepcopy(model), GradientNoiseCallback(**NOISE)
    start = copy.deepcopy(model)
    trainer(tmp_path, noise).fit(model, batches())
    assert [handle.t for handle in noise.noises] == [2 * N_BATCHES] * 2
    seeds = [handle.seed for handle in noise.noises]
    assert seeds[0] == NOISE["seed"]
    assert seeds[0] != seeds[1]
    for optimizer, seed in zip(hand.configure_optimizers(), seeds, strict=True):
        attach(optimizer, **(NOISE | {"seed": seed}), names=hand.named_parameters())
        for _ in range(2 * N_BATCHES):
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
    assert_same_weights(model, hand)
    moved = [
        after - before for after, before in zip(model.parameters(), start.parameters(), strict=True)
    ]
    assert not torch.isclose(moved[0], moved[2]).any()


def test_the_standard_deviation_of_each_update_is_logged(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    trainer(
        tmp_path,
        GradientNoiseCallback(**NOISE, measure_ratio=True),
        logger=logger,
        log_every_n_steps=1,
    ).fit(Net(), batches())
    logger.save()
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").read_text().splitlines()))
    expected = [annealed(NOISE["eta"], NOISE["gamma"]).std(t) for t in range(2 * N_BATCHES)]
    assert [float(row["gradnoise/std"]) for row in rows] == pytest.approx(expected)
    assert all(float(row["gradnoise/ratio"]) > 0 for row in rows)


class Unfreezes(BaseFinetuning):
    """Freezes the first layer in the first epoch."""

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.layers[0])  # type: ignore[index]

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: torch.optim.Optimizer
    ) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.layers[0], optimizer, lr=0.05)  # type: ignore[index]


def test_layers_that_are_unfrozen_later_get_the_noise_of_their_names(tmp_path: Path) -> None:
    """Lightning adds a group without names, so the optimizer cannot have names."""

    class Trainable(Net):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.05)

    model, noise, hand = Trainable(), GradientNoiseCallback(**NOISE), Trainable()
    trainer(tmp_path, Unfreezes(), noise).fit(model, batches())
    hand.layers[0].requires_grad_(False)
    optimizer = hand.configure_optimizers()
    attach(optimizer, **NOISE, names=hand.named_parameters())
    for epoch in range(2):
        if epoch == 1:
            hand.layers[0].requires_grad_(True)
            optimizer.add_param_group({"params": list(hand.layers[0].parameters())})
        for batch in batches():
            optimizer.zero_grad()
            hand.loss(batch).backward()
            optimizer.step()
    assert_same_weights(model, hand)


@pytest.mark.parametrize("order", ["noise first", "noise last"])
def test_the_steps_of_a_learning_rate_finder_do_not_count(tmp_path: Path, order: str) -> None:
    """Lightning restores the weights after them, and with them t."""
    model, noise = Tunable(), GradientNoiseCallback(**NOISE)
    finder = LearningRateFinder(num_training_steps=5, min_lr=1e-4, max_lr=1e-2, update_attr=False)
    callbacks = [noise, finder] if order == "noise first" else [finder, noise]
    trainer(tmp_path, *callbacks).fit(model, batches())
    assert [handle.t for handle in noise.noises] == [2 * N_BATCHES]


def test_the_steps_of_a_batch_size_finder_do_not_count(tmp_path: Path) -> None:
    model, noise = Tunable(), GradientNoiseCallback(**NOISE)
    finder = BatchSizeFinder(steps_per_trial=2, init_val=4, max_trials=2)
    fit = trainer(tmp_path, noise, finder, max_epochs=1)
    fit.fit(model)
    assert [handle.t for handle in noise.noises] == [-(-len(BATCHES) // model.batch_size)]


class Tunable(Net):
    """A net with the attributes that Lightning's finders set."""

    def __init__(self) -> None:
        super().__init__()
        self.lr, self.batch_size = 0.05, 4

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(BATCHES, batch_size=self.batch_size)


def test_a_callback_survives_pickling_before_and_after_a_fit(tmp_path: Path) -> None:
    """As in a fit whose processes are spawned."""
    noise = pickle.loads(pickle.dumps(GradientNoiseCallback(**NOISE)))
    for _ in range(2):
        model = Net()
        trainer(tmp_path, noise).fit(model, batches())
        assert_same_weights(model, by_hand(Net()))
        noise = pickle.loads(pickle.dumps(noise))


def test_several_optimizers_are_logged_separately(tmp_path: Path) -> None:
    fits = trainer(tmp_path, GradientNoiseCallback(**NOISE))
    fits.fit(TwoOptimizers(), batches())
    assert {"gradnoise/std", "gradnoise/std-1"} <= fits.logged_metrics.keys()


def test_the_noise_ends_with_the_fit_even_if_it_raises_an_error(tmp_path: Path) -> None:
    class Fails(Net):
        def training_step(self, batch: Iterable[torch.Tensor], i: int) -> torch.Tensor:
            if i == 2:
                raise OSError("no data")
            return self.loss(batch)

    failing = trainer(tmp_path, GradientNoiseCallback(**NOISE))
    with pytest.raises(OSError, match="no data"):
        failing.fit(Fails(), batches())
    ending = trainer(tmp_path, GradientNoiseCallback(**NOISE))
    ending.fit(Net(), batches())
    for optimizer in (*failing.optimizers, *ending.optimizers):
        (parameter, *_) = optimizer.param_groups[0]["params"]
        parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        assert not parameter.grad.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1}, "exactly one of process and eta"),
        ({"seed": -1, "eta": 0.1}, "seed must be at least 0"),
        ({"seed": 1, "eta": -0.1}, "eta must be"),
    ],
)
def test_illegal_arguments_raise_an_error_before_fitting(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GradientNoiseCallback(**arguments)
