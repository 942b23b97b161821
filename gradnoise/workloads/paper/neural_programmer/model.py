"""The Neural Programmer of Neelakantan, Le & Sutskever 2016, arXiv:1511.04834."""

from collections.abc import Mapping, Sequence

import torch

from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads.paper.neural_programmer.questions import NONE, NUMBER_OF, VOCABULARY

OPERATIONS = (
    "sum",
    "count",
    "difference",
    "greater",
    "lesser",
    "and",
    "or",
    "assign",
    "reset",
    "match",
)


class Programmer(torch.nn.Module):
    """A network that reads a question and applies `n_steps` operations to a table.

    The table has M rows and C columns. Question: z_i = tanh(W [v_i; z_{i-1}] + b) with v_i the
    embedding of word i; q is the last z_i. Step t has a mixture of operations a = softmax(U tanh(A
    [q; h_t])) and a mixture of columns p = softmax(P tanh(B [q; h_t])), where the rows of U are the
    operations' embeddings and those of P the embeddings of the columns' names; h_1 = 0, h_{t+1} =
    tanh(H [U^T a; P^T p; h_t] + c). With row selections s_t, all rows at the start, and scalars
    x_t:

    x_t = a(sum) sum_j p_j sum_i s_{t-1,i} T_ij + a(count) sum_i s_{t-1,i} + a(difference) (x_{t-3}
    - x_{t-1}), y_t,ij = a(assign) p_j s_{t-1,i}, s_t,i = sum_j p_j (a(greater) G_ij + a(lesser)
    L_ij + a(match) E_ij) + a(and) min(s_{t-1,i}, s_{t-2,i}) + a(or) max(...) + a(reset).

    G_ij = sum_k g_k [T_ij > pivot k] with g = softmax(z_left(k) . U(greater)) over the pivots,
    z_left(k) being the state at the word before pivot k; L_ij likewise with <; E_ij = sum_k e_k
    [T_ij = word k] with e = softmax(z_k . U(match)). The answers are x and y of the last step.

    Args:
        n_texts: Number of text columns, which are the first; without them there is no `match`.
        n_columns: Number of all columns; at most 20.
        dim: Length of embeddings and states.
        n_steps: Number of operations.
        dropout: Share of [q; h_t] that is dropped in training; 0: a place for the technique
            `dropout`.
    """

    def __init__(
        self, *, n_texts: int, n_columns: int, dim: int, n_steps: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.n_texts, self.n_columns, self.n_steps = n_texts, n_columns, n_steps
        self.operations = OPERATIONS if n_texts else OPERATIONS[:-1]
        self.words = torch.nn.Parameter(torch.empty(len(VOCABULARY), dim))
        self.names = torch.nn.Parameter(torch.empty(len(self.operations), dim))
        self.question = torch.nn.Linear(2 * dim, dim)
        self.history = torch.nn.Linear(3 * dim, dim)
        self.operation = torch.nn.Linear(2 * dim, dim, bias=False)
        self.column = torch.nn.Linear(2 * dim, dim, bias=False)
        self.drop = Dropout(dropout)

    def forward(
        self,
        question: torch.Tensor,
        pivots: torch.Tensor,
        lefts: torch.Tensor,
        table: torch.Tensor,
        n_rows: torch.Tensor,
        is_hard: bool = False,
    ) -> torch.Tensor:
        """Return the scalar answer, then the entries of the lookup answer row by row.

        Args:
            question: Words, padded with len(VOCABULARY), [examples, words].
            pivots: The numbers of the question, in hundredths, [examples, 2].
            lefts: The index of the word before each number, -1 if there is no such number,
                [examples, 2].
            table: Numbers in hundredths, or words, [examples, M, C].
            n_rows: How many of the M rows exist, the first, [examples].
            is_hard: Whether every mixture is replaced by its likeliest part.

        Returns:
            [examples, 1 + M C].
        """
        dtype = self.words.dtype

        def chosen(scores: torch.Tensor) -> torch.Tensor:
            return (
                one_hot(scores.argmax(1), scores.shape[1]).to(dtype)
                if is_hard
                else scores.softmax(1)
            )

        def argument(states: torch.Tensor, is_there: torch.Tensor, operation: str) -> torch.Tensor:
            scores = states @ self.names[self.operations.index(operation)]
            return chosen(scores.masked_fill(~is_there, -1e9)) * is_there

        words_read = self.read(question)
        is_row = (torch.arange(table.shape[1], device=table.device) < n_rows[:, None]).to(dtype)
        left = torch.take_along_dim(words_read, lefts.clamp(min=0).long()[:, :, None], 1)
        entries = table[:, None]
        is_number = torch.arange(self.n_columns, device=table.device) >= self.n_texts
        parts = {
            "greater": (left, lefts >= 0, (entries > pivots[:, :, None, None]) & is_number),
            "lesser": (left, lefts >= 0, (entries < pivots[:, :, None, None]) & is_number),
        }
        if self.n_texts:
            parts["match"] = (
                words_read,
                question < NONE,
                (entries == question[:, :, None, None]) & ~is_number,
            )
        conditions = {
            name: torch.einsum(
                "nk,nkij->nij", argument(states, is_there, name), fulfilled.to(dtype)
            )
            * is_row[:, :, None]
            for name, (states, is_there, fulfilled) in parts.items()
        }
        numbers = (table * is_number).to(dtype)
        columns = self.words[NUMBER_OF["A"] : NUMBER_OF["A"] + self.n_columns]
        last_state, history = words_read[:, -1], torch.zeros_like(words_read[:, -1])
        rows, scalars = [is_row, is_row], [torch.zeros_like(is_row[:, 0])] * 3
        for _ in range(self.n_steps):
            controller = self.drop(torch.cat([last_state, history], 1))
            operations = chosen(self.operation(controller).tanh() @ self.names.T)
            column = chosen(self.column(controller).tanh() @ columns.T)
            a = dict(zip(self.operations, operations.unbind(1), strict=True))
            scalar, entries_found, row = operate(a, column, numbers, conditions, rows, scalars)
            scalars, rows = [*scalars, scalar], [*rows, row]
            history = self.history(
                torch.cat([operations @ self.names, column @ columns, history], 1)
            ).tanh()
        return torch.cat([scalars[-1][:, None], entries_found.flatten(1)], 1)

    def read(self, question: torch.Tensor) -> torch.Tensor:
        """Return the state after each word, [examples, words, dim]; padding does not change it."""
        words = one_hot(question, NONE).to(self.words.dtype) @ self.words
        is_word = (question < NONE)[:, :, None]
        state = torch.zeros_like(words[:, 0])
        states = []
        for i in range(question.shape[1]):
            state = torch.where(
                is_word[:, i], self.question(torch.cat([words[:, i], state], 1)).tanh(), state
            )
            states.append(state)
        return torch.stack(states, 1)


def operate(
    a: Mapping[str, torch.Tensor],
    column: torch.Tensor,
    numbers: torch.Tensor,
    conditions: Mapping[str, torch.Tensor],
    rows: Sequence[torch.Tensor],
    scalars: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x_t [examples], y_t [examples, M, C] and s_t [examples, M] of a step of `Programmer`.

    Args:
        a: The weight of each operation, [examples] each.
        column: The weight of each column, [examples, C].
        numbers: The table in hundredths, 0 in text columns, [examples, M, C].
        conditions: G, L and E by operation, [examples, M, C] each.
        rows: The previous s, the latest last; the first selects all existing rows.
        scalars: The previous x, the latest last; at least three.
    """
    before, last = rows[-2:]
    total = torch.einsum("nj,ni,nij->n", column, last, numbers) / 100
    scalar = (
        a["sum"] * total + a["count"] * last.sum(1) + a["difference"] * (scalars[-3] - scalars[-1])
    )
    entries = (a["assign"][:, None] * last)[:, :, None] * column[:, None]
    from_rows = a["and"][:, None] * torch.minimum(last, before) + a["or"][:, None] * torch.maximum(
        last, before
    )
    from_table = [
        a[name][:, None] * (condition @ column[:, :, None])[:, :, 0]
        for name, condition in conditions.items()
    ]
    return scalar, entries, sum(from_table, from_rows + a["reset"][:, None] * rows[0])


def one_hot(numbers: torch.Tensor, n: int) -> torch.Tensor:
    return numbers[..., None] == torch.arange(n, device=numbers.device)
