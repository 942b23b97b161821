import math

import pytest
import torch

from gradnoise.testing.trials import train
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.char_lm import VOCABULARY, CharLm, sequences, text


def test_splits_are_consecutive_parts_of_the_text_and_targets_follow_their_inputs() -> None:
    splits = sequences(20_000, 30)
    starts = {"train": 0, "validation": 16_000, "test": 18_000}
    for name, start in starts.items():
        inputs, targets = getattr(splits, name)
        n = inputs.numel()
        assert inputs.shape == targets.shape == (n // 30, 30)
        assert inputs.flatten().equal(text()[start : start + n])
        assert targets.flatten().equal(text()[start + 1 : start + n + 1])
    assert splits.train[0].numel() == 15_990  # 533 sequences; 10 characters are left


def test_the_text_suffices_for_the_largest_option() -> None:
    assert len(text()) >= 450_000
    assert int(text().max()) < VOCABULARY


def test_a_prediction_does_not_depend_on_what_follows() -> None:
    workload = CharLm()
    model = workload.model()
    workload.initialise(model, seed=1)
    inputs = workload.data().validation[0][:2]
    changed = inputs.clone()
    changed[:, 20:] = 65
    before, after = model(inputs), model(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.isclose(before[:, 20:], after[:, 20:]).all(2).any()


def test_attention_is_that_of_torch() -> None:
    workload = CharLm({"context": 8})
    model = workload.model()
    workload.initialise(model, seed=1)
    block = model.get_submodule("blocks.0")
    states = torch.randn(3, 8, 64, generator=torch.Generator().manual_seed(1))
    query, key, value = (
        part.view(3, 8, 4, 16).transpose(1, 2) for part in block.attend(states).chunk(3, -1)
    )
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(block._attention(states), expected.transpose(1, 2).reshape(3, 8, 64))


def test_the_untrained_model_is_as_uncertain_as_a_uniform_guess() -> None:
    """Logits of initial weights are small: 64 units of variance 1 times N(0, 0.02^2) have a
    variance of 0.0256, which adds half of it to log(128) nats on average.
    """
    workload = CharLm()
    model = workload.model()
    workload.initialise(model, seed=1)
    with torch.no_grad():
        measured = workload.measure(model, workload.data().validation)["bits_per_character"]
    expected = (math.log(VOCABULARY) + 64 * 0.02**2 / 2) / math.log(2)
    assert float(measured) == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.5), ("adamw", 0.003)])
def test_it_learns_more_than_the_frequencies_of_characters(optimizer: str, lr: float) -> None:
    """After two epochs, its bits are below the entropy of the validation text's own characters,
    the fewest that any prediction needs that does not depend on the context.
    """
    spec = TrialSpec(
        key="a",
        workload="char-lm",
        optimizer=optimizer,
        params={"lr": lr},
        seed=1,
        budget_epochs=2,
    )
    frequencies = torch.bincount(CharLm().data().validation[1].flatten()).double()
    entropy = torch.distributions.Categorical(frequencies).entropy() / math.log(2)
    measured = train(SingleTrainer(1), spec)["a"][-1]["validation_bits_per_character"]
    assert measured < float(entropy)
