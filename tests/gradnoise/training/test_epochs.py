from typing import Any

import pytest
import torch

from gradnoise.training.epochs import (
    Order,
    epoch_order,
    evaluating,
    first_batch,
    make_ahead,
    n_steps,
    splits_measured,
)
from gradnoise.training.setup import prepare
from gradnoise.workloads import permutation
from trial_runs import spec


@pytest.fixture
def workload(probes: None) -> Any:
    return prepare(spec()).workload


def test_an_epoch_has_whole_batches_in_an_order_of_seed_and_epoch(workload: Any) -> None:
    """30 examples in batches of 8 are three updates; six examples are left out."""
    assert n_steps(workload) == 3
    order = epoch_order(workload, spec(), epoch=2)
    assert torch.equal(order, permutation(1, "order", 2, 30)[:24].view(3, 8))
    assert len(set(order.flatten().tolist())) == 24
    assert not torch.equal(order, epoch_order(workload, spec(), epoch=3))


@pytest.mark.parametrize("report_every", [None, 2, 7])
def test_orders_made_ahead_continue_pass_by_pass(workload: Any, report_every: int | None) -> None:
    """The epochs together are the passes one after the other, whether an order was made ahead."""
    trial, n_epochs = spec(report_every=report_every), 4
    order = Order(workload, trial)
    found = []
    for epoch in range(n_epochs):
        found.append(order.of(epoch))
        make_ahead([(order, epoch + 1 + epoch % 2)])
        assert torch.equal(order.of(epoch), found[-1])
    passes = torch.cat([permutation(1, "order", number, 30)[:24] for number in range(10)])
    assert torch.equal(torch.cat(found).long().view(-1), passes[: 8 * n_epochs * len(found[0])])
    assert {len(each) for each in found} == {report_every or 3}


def test_data_that_fill_no_batch_are_refused(workload: Any) -> None:
    workload.__class__ = type("Large", (type(workload),), {"batch_size": 31})
    with pytest.raises(
        ValueError,
        match="batch_size must be at most 30, the training examples, but got batch_size=31",
    ):
        n_steps(workload)


def test_the_first_batch_is_the_first_examples(workload: Any) -> None:
    splits = workload.data()
    for part, whole in zip(first_batch(workload, splits), splits.train, strict=True):
        assert torch.equal(part, whole[:8])


def test_the_test_split_is_measured_if_requested() -> None:
    assert splits_measured(spec()) == ("validation",)
    assert splits_measured(spec(with_test=True)) == ("validation", "test")


def test_a_model_returns_to_training_mode_also_after_an_exception() -> None:
    model = torch.nn.Linear(1, 1)
    with evaluating(model):
        assert not model.training
    with pytest.raises(RuntimeError, match="in between"), evaluating(model):
        raise RuntimeError("in between")
    assert model.training
