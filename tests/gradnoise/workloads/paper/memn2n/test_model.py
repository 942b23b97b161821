import math
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise._streams import normal
from gradnoise.workloads.paper.memn2n.model import MemoryNetwork


def network(**changes: Any) -> MemoryNetwork:
    model = MemoryNetwork(
        **{"n_vocabulary": 5, "n_sentences": 3, "dim": 4, "hops": 2} | changes
    ).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(1, "init", 0, name, parameter.shape))
    return model


def sentence(words: list[int], embedding: torch.Tensor) -> torch.Tensor:
    """Return a sentence's vector by the paper's formula, word by word."""
    dim, length = embedding.shape[1], len(words)
    total = torch.zeros(dim, dtype=torch.float64)
    for j, word in enumerate(words, 1):
        for k in range(1, dim + 1):
            total[k - 1] += ((1 - j / length) - k / dim * (1 - 2 * j / length)) * embedding[
                word, k - 1
            ]
    return total


def by_hand(
    model: MemoryNetwork,
    story: list[list[int]],
    question: list[int],
    ages: list[int],
    *,
    linear: bool = False,
) -> torch.Tensor:
    """Return the answer to a question, computed sentence by sentence."""
    embeddings, vectors = model.embeddings.detach(), model.ages.detach()
    state = sentence(question, embeddings[0])
    for hop in range(len(embeddings) - 1):
        m = [
            sentence(words, embeddings[hop]) + vectors[hop][age]
            for words, age in zip(story, ages, strict=True)
        ]
        c = [
            sentence(words, embeddings[hop + 1]) + vectors[hop + 1][age]
            for words, age in zip(story, ages, strict=True)
        ]
        scores = [float(state @ memory) for memory in m]
        odds = [math.exp(score) for score in scores]
        weights = scores if linear else [part / sum(odds) for part in odds]
        state = state + sum(weight * output for weight, output in zip(weights, c, strict=True))
    return embeddings[-1] @ state


def padded(rows: list[list[int]], n_rows: int, n_words: int, none: int) -> torch.Tensor:
    return torch.tensor(
        [[*row, *[none] * (n_words - len(row))] for row in [*rows, *[[]] * (n_rows - len(rows))]]
    )


words = st.lists(st.integers(0, 4), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(story=st.lists(words, min_size=1, max_size=3), question=words)
def test_it_computes_the_papers_formulas(story: list[list[int]], question: list[int]) -> None:
    """For any lengths, with two examples of different lengths in a batch."""
    model = network().eval()
    stories = torch.stack([padded(story, 3, 4, 5), padded([[0, 1]], 3, 4, 5)])
    questions = torch.cat([padded([question], 1, 4, 5), padded([[2]], 1, 4, 5)])
    found = model(stories, questions).detach()
    torch.testing.assert_close(
        found[0], by_hand(model, story, question, list(range(len(story)))), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(found[1], by_hand(model, [[0, 1]], [2], [0]), rtol=1e-10, atol=1e-10)


def test_the_linear_start_has_no_softmax_and_ends_after_its_updates() -> None:
    story, question = [[0, 1], [2, 3, 4]], [1, 2]
    model = network(n_linear_updates=2)
    inputs = padded(story, 3, 4, 5)[None], padded([question], 1, 4, 5)
    for linear in (True, True, False):
        expected = by_hand(model, story, question, [0, 1], linear=linear)
        torch.testing.assert_close(
            model.eval()(*inputs)[0].detach(), expected, rtol=1e-10, atol=1e-10
        )
        torch.testing.assert_close(
            model.train()(*inputs)[0].detach(), expected, rtol=1e-10, atol=1e-10
        )


def test_an_empty_memory_increases_the_ages_of_older_sentences_up_to_the_oldest_age() -> None:
    """The mask is 0 where a memory is inserted; in evaluation none is inserted."""
    story, question = [[0, 1], [2, 3, 4], [1]], [1, 2]
    model = network(blank_rate=0.1)
    inputs = padded(story, 3, 4, 5)[None], padded([question], 1, 4, 5)
    model.blanks.mask = torch.tensor([[1.1, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        model(*inputs)[0].detach(),
        by_hand(model, story, question, [0, 2, 2]),
        rtol=1e-10,
        atol=1e-10,
    )
    torch.testing.assert_close(
        model.eval()(*inputs)[0].detach(),
        by_hand(model, story, question, [0, 1, 2]),
        rtol=1e-10,
        atol=1e-10,
    )
