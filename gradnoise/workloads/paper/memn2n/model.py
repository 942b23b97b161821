"""The end-to-end memory network of Sukhbaatar et al. 2015, arXiv:1503.08895."""

import itertools

import torch

from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads.paper.memn2n.row_sums import row_sums


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
        k_over_d = torch.arange(1, dim + 1, device=story.device, dtype=self.embeddings.dtype) / dim
        tables = torch.cat([self.embeddings, self.embeddings * k_over_d, self.ages], 1)
        n_rows = tables.shape[1]
        rows, weights = terms(story, n_vocabulary, n_rows, tables.dtype)
        age_rows = torch.where(is_there, 2 * n_vocabulary + shifted, n_rows)[:, :, None]
        memories = row_sums(
            tables,
            torch.cat([rows, age_rows], 2).flatten(0, 1),
            torch.cat([weights, torch.ones_like(weights[:, :, :1])], 2).flatten(0, 1),
        )
        (state,) = row_sums(tables[:1], *terms(question, n_vocabulary, n_rows, tables.dtype))
        for inputs, outputs in itertools.pairwise(
            memory.view(*is_there.shape, dim) for memory in memories
        ):
            scores = (inputs * state[:, None]).sum(2)
            weights = torch.where(is_there, scores, -torch.inf).softmax(1)
            if self.n_linear_updates:
                is_linear = self.updates < self.n_linear_updates
                weights = torch.where(is_linear, scores * is_there, weights)
            state = state + (weights[:, None] @ outputs)[:, 0]
        if self.training and self.n_linear_updates:
            self.updates.add_(1)
        return state @ self.embeddings[-1].T


def terms(
    words: torch.Tensor, n_vocabulary: int, no_row: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of each sentence and their weights, [..., 2 words] each.

    The weight l_kj in coordinate k of d is a part that is independent of k, which applies to the
    row of the word's embedding, plus k/d times another, which applies to the row n_vocabulary below
    it. Words that are not there have the row `no_row`.

    >>> rows, weights = terms(torch.tensor([1, 0, 2]), 2, 5, torch.float64)
    >>> rows.tolist(), weights[:5].tolist()
    ([1, 0, 5, 3, 2, 5], [0.5, 0.0, -0.5, 0.0, 1.0])
    """
    is_word = words < n_vocabulary
    length = is_word.sum(-1, keepdim=True).clamp(min=1)
    j_over_length = torch.arange(1, words.shape[-1] + 1, device=words.device, dtype=dtype) / length
    rows = torch.where(is_word, words, no_row)
    below = torch.where(is_word, words + n_vocabulary, no_row)
    return torch.cat([rows, below], -1), torch.cat([1 - j_over_length, 2 * j_over_length - 1], -1)
