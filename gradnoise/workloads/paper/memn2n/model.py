"""The end-to-end memory network of Sukhbaatar et al. 2015, arXiv:1503.08895."""

import itertools

import torch

from gradnoise.techniques.dropout_layers import Dropout


class MemoryNetwork(torch.nn.Module):
    """A network that reads a memory of sentences `hops` times and answers with a word.

    u_1 = B q; in hop k: p = softmax(u_k^T m_i), o = sum_i p_i c_i, u_{k+1} = u_k + o; answer =
    softmax(W u_last). With embeddings E_0, ... and vectors T_0, ... of age: m = E_{k-1} + T_{k-1},
    c = E_k + T_k, B = E_0, W = E_hops^T. Word j of J in a sentence has the weight l_kj = (1 - j/J)
    - (k/d) (1 - 2j/J) in coordinate k of d.

    Args:
        n_vocabulary: Size of the vocabulary; n_vocabulary itself means that there is no word.
        n_sentences: Sentences of a memory.
        dim: Length d of an embedding.
        hops: Number of times the memory is read.
        n_linear_updates: First training updates, in which p = u_k^T m_i, without the softmax.
        blank_rate: Probability of an empty memory before each sentence in training; in [0, 1).
    """

    updates: torch.Tensor

    def __init__(
        self,
        *,
        n_vocabulary: int,
        n_sentences: int,
        dim: int,
        hops: int,
        n_linear_updates: int = 0,
        blank_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings = torch.nn.Parameter(torch.empty(hops + 1, n_vocabulary, dim))
        self.ages = torch.nn.Parameter(torch.empty(hops + 1, n_sentences, dim))
        self.blanks = Dropout(blank_rate) if blank_rate else torch.nn.Identity()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.n_linear_updates = n_linear_updates

    def forward(self, story: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """Return the logits of each word as the answer, [examples, words].

        Args:
            story: Words, [examples, sentences, words per sentence], the latest sentence first.
            question: Words, [examples, words per sentence].
        """
        n_vocabulary, dim = self.embeddings.shape[1:]
        is_there = (story < n_vocabulary).any(2)
        is_kept = self.blanks(is_there.to(self.ages.dtype).new_ones(is_there.shape)) > 0
        ages = torch.arange(is_there.shape[1], device=is_there.device)
        shifted = (ages + (~is_kept).cumsum(1)).clamp(max=is_there.shape[1] - 1)
        by_age = (shifted[:, :, None] == ages).to(self.ages.dtype)
        plain, tilted = bags(story, n_vocabulary, self.embeddings.dtype)
        k_over_d = torch.arange(1, dim + 1, device=story.device, dtype=self.embeddings.dtype) / dim
        memories = [
            plain @ words + (tilted @ words) * k_over_d + by_age @ vectors
            for words, vectors in zip(self.embeddings, self.ages, strict=True)
        ]
        plain, tilted = bags(question, n_vocabulary, self.embeddings.dtype)
        state = plain @ self.embeddings[0] + (tilted @ self.embeddings[0]) * k_over_d
        for inputs, outputs in itertools.pairwise(memories):
            scores = (inputs @ state[:, :, None])[:, :, 0]
            weights = torch.where(is_there, scores, -torch.inf).softmax(1)
            if self.n_linear_updates:
                is_linear = self.updates < self.n_linear_updates
                weights = torch.where(is_linear, scores * is_there, weights)
            state = state + (weights[:, None] @ outputs)[:, 0]
        if self.training and self.n_linear_updates:
            self.updates.add_(1)
        return state @ self.embeddings[-1].T


def bags(
    words: torch.Tensor, n_vocabulary: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights of each word in each sentence, [..., n_vocabulary], in two parts.

    The weight l_kj in coordinate k of d is the first part plus k/d times the second.

    >>> first, second = bags(torch.tensor([1, 0, 2]), 2, torch.float64)
    >>> first.tolist(), second.tolist()
    ([0.0, 0.5], [1.0, 0.0])
    """
    is_word = words < n_vocabulary
    length = is_word.sum(-1, keepdim=True).clamp(min=1)
    j_over_length = torch.arange(1, words.shape[-1] + 1, device=words.device, dtype=dtype) / length
    empty = torch.zeros(*words.shape[:-1], n_vocabulary + 1, dtype=dtype, device=words.device)
    return (
        empty.scatter_add(-1, words, torch.where(is_word, 1 - j_over_length, 0.0))[..., :-1],
        empty.scatter_add(-1, words, torch.where(is_word, 2 * j_over_length - 1, 0.0))[..., :-1],
    )
