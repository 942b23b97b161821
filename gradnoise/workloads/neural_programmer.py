"""The Neural Programmer of Neelakantan, Le & Sutskever 2016 (arXiv:1511.04834); section 4.3 of
Neelakantan et al. 2015.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from gradnoise.keys import key
from gradnoise.streams import normal
from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads.base import Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.options import option

N_HELD_OUT = 500
DATA_SEED = 1511
FEWEST_ROWS, MOST_ROWS = 30, 100
LARGEST_ENTRY, LARGEST_PIVOT = 10_000, 8_000  # in hundredths
N_TEXTS = 10
MOST_WORDS = 12
EPSILON = 1e-6

KINDS = {
    "aggregates": ("sum", "count"),
    "scalars": ("sum", "count", "diff"),
    "entries": ("print",),
    "all": ("sum", "count", "diff", "print"),
}

WORDS = ("greater", "lesser", "is", "and", "or", "sum", "count", "print", "diff")
TEXTS = tuple(f"text{i}" for i in range(N_TEXTS))
NAMES = tuple("ABCDEFGHIJKLMNOPQRST")
VOCABULARY = (*WORDS, *TEXTS, *NAMES)
NUMBER_OF = {word: i for i, word in enumerate(VOCABULARY)}
NONE = len(VOCABULARY)

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


@dataclass(frozen=True, kw_only=True)
class NeuralProgrammerOptions:
    """What fixes the network and its questions."""

    number_columns: int = option(1, "Columns of numbers in a table.", minimum=1, maximum=10)
    text_columns: int = option(
        0, "Columns of words in a table, before those of numbers.", minimum=0, maximum=10
    )
    answers: Literal["aggregates", "scalars", "entries", "all"] = option(
        "all",
        "What is asked for: sums and counts; these and their differences; entries of the table; "
        "or all of it.",
    )
    conditions: int = option(
        2, "Most conditions on the rows in one question.", minimum=0, maximum=2
    )
    dim: int = option(
        32,
        "Length of an embedding and of both recurrent networks' states.",
        minimum=1,
        maximum=1_000,
    )
    steps: int = option(
        4, "Operations that are applied, one after the other.", minimum=1, maximum=10
    )
    dropout: float = option(
        0.0,
        "Share dropped, in every arm, of the two states that choose operations and columns; 0: "
        "under the technique `dropout` alone.",
        minimum=0,
        maximum=0.9999,
    )
    delta: float = option(
        10.0,
        "Error of a scalar answer above which its loss is linear.",
        minimum=0.01,
        maximum=1_000_000,
    )
    lookup_weight: float = option(
        50.0, "Weight of the loss of entries beside that of scalars.", minimum=0, maximum=1_000_000
    )
    train_examples: int = option(
        10_000, "Questions to train on, each on a table of its own.", minimum=100, maximum=50_000
    )
    batch_size: int = option(50, "Examples in one update.", minimum=1, maximum=50_000)

    def __post_init__(self) -> None:
        if self.batch_size > self.train_examples:
            raise ValueError(
                f"batch_size must be at most {self.train_examples}, the training examples, but got "
                f"batch_size={self.batch_size}."
            )


class NeuralProgrammer(Workload):
    """Answers questions on tables by a few operations: mixtures of them in training, the likeliest
    ones alone when it is judged.

    From Neelakantan, Le and Sutskever: both recurrent networks, the operations, four steps, the two
        losses, tables of 30 to 100 rows with
    numbers uniform in [-100, 100], numbers in questions uniform in [-80, 80], batches of 50. We
    chose: numbers have two decimals, and an answer counts if it is exact; the questions in `ask`,
    of each kind as many; 10,000 of them to train on, where they had 50,000; a condition is a
    mixture of comparisons, one with each number of the question, where they compared with a mixture
    of the numbers, which has no gradient; a text matches if it is the same word, where they learned
    a similarity; a column's name has the embedding of the word; weights of N(0, 1 / n_inputs),
    biases of 0; the losses' delta of 10 and weight of 50; dropout on [q; h_t] where operations and
    columns are chosen by it, one mask for all steps of an example.
    """

    name = "neural-programmer"
    description = (
        "A network that learns to answer questions on tables by choosing built-in operations."
    )
    metrics = (
        Metric(
            name="accuracy",
            direction="maximize",
            worst=0.0,
            description="Share of questions answered exactly, from 0 to 1.",
        ),
        # At the largest delta: half the square of three sums of 10,000 is 4.5e8.
        Metric(
            name="loss",
            direction="minimize",
            worst=1e9,
            description="Mean loss, in units of the answers; a diverged run counts as 1e9.",
        ),
    )
    Options: ClassVar[type] = NeuralProgrammerOptions
    options: NeuralProgrammerOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        own = self.options
        return _data(
            own.text_columns,
            own.text_columns + own.number_columns,
            own.answers,
            own.conditions,
            own.train_examples,
        )

    def model(self) -> torch.nn.Module:
        own = self.options
        n_columns = own.text_columns + own.number_columns
        return Programmer(
            n_texts=own.text_columns,
            n_columns=n_columns,
            dim=own.dim,
            n_steps=own.steps,
            dropout=own.dropout,
        )

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            std = math.sqrt(1 / parameter.shape[-1]) if parameter.dim() == 2 else 0.0
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * std)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        *asked, _, _, _ = batch
        return self._losses(forward(*asked), batch).mean()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        *asked, scalar, entries, _ = batch
        found = forward(*asked, True)
        is_right = ((found[:, 0] - scalar).abs() < 0.005) & (
            (found[:, 1:] > 0.5) == entries.flatten(1)
        ).all(1)
        return {
            "accuracy": is_right.float().mean(),
            "loss": self._losses(forward(*asked), batch).mean(),
        }

    def _losses(self, found: torch.Tensor, batch: Batch) -> torch.Tensor:
        *_, n_rows, scalar, entries, is_lookup = batch
        of_scalar = functional.huber_loss(
            found[:, 0], scalar, reduction="none", delta=self.options.delta
        )
        right = torch.where(entries.flatten(1), found[:, 1:], 1 - found[:, 1:]).clamp(min=EPSILON)
        # there is nothing to find in rows beyond the last: log 1
        of_entries = -right.log().sum(1) / (n_rows * entries.shape[2])
        return torch.where(is_lookup, self.options.lookup_weight * of_entries, of_scalar)


class Programmer(torch.nn.Module):
    """Reads a question word by word and applies `n_steps` operations to a table of M rows and C
    columns.

    Question: z_i = tanh(W [v_i; z_{i-1}] + b) with v_i the embedding of word i; q is the last. In
        step t, a mixture of operations
    a = softmax(U tanh(A [q; h_t])) and one of columns p = softmax(P tanh(B [q; h_t])), where U has
    an operation's embedding in each row and P that of a column's name; h_1 = 0, h_{t+1} = tanh(H
    [U^T a; P^T p; h_t] + c). Of rows s_{t-1}, s_{t-2}, all of them at the beginning, and scalars
    x_t:

    x_t = a(sum) sum_j p_j sum_i s_{t-1,i} T_ij + a(count) sum_i s_{t-1,i} + a(difference) (x_{t-3}
    - x_{t-1}), y_t,ij = a(assign) p_j s_{t-1,i}, s_t,i = sum_j p_j (a(greater) G_ij + a(lesser)
    L_ij + a(match) E_ij) + a(and) min(s_{t-1,i}, s_{t-2,i}) + a(or) max(...) + a(reset).

    G_ij = sum_k g_k [T_ij > pivot k] with g = softmax(z_left(k) . U(greater)) over the pivots,
    z_left(k) being the state at the word before pivot k; L_ij likewise; E_ij = sum_k e_k [T_ij =
    word k] with e = softmax(z_k . U(match)). The answers are x and y of the last step.

    Args:
        n_texts: Columns of text, the first ones; without any there is no `match`.
        n_columns: All columns, at most 20.
        dim: Length of embeddings and states.
        n_steps: Operations.
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
        """Return the scalar answer and then the entries of the lookup answer, row by row,
        [examples, 1 + M C].

        Args:
            question: Words, len(VOCABULARY) after the last one, [examples, words].
            pivots: Numbers of the question, in hundredths, [examples, 2].
            lefts: The place of the word before each, -1 where there is no such number, [examples,
                2].
            table: Numbers in hundredths, or words, [examples, M, C].
            n_rows: Rows that there are, the first ones of the M.
            is_hard: Whether every mixture is its likeliest part alone.
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

        states = self.read(question)
        is_row = (torch.arange(table.shape[1], device=table.device) < n_rows[:, None]).to(dtype)
        left = torch.take_along_dim(states, lefts.clamp(min=0).long()[:, :, None], 1)
        entries, is_number = (
            table[:, None],
            torch.arange(self.n_columns, device=table.device) >= self.n_texts,
        )
        parts = {
            "greater": (left, lefts >= 0, (entries > pivots[:, :, None, None]) & is_number),
            "lesser": (left, lefts >= 0, (entries < pivots[:, :, None, None]) & is_number),
        }
        if self.n_texts:
            parts["match"] = (
                states,
                question < NONE,
                (entries == question[:, :, None, None]) & ~is_number,
            )
        conditions = {
            name: torch.einsum("nk,nkij->nij", argument(own, is_there, name), holds.to(dtype))
            * is_row[:, :, None]
            for name, (own, is_there, holds) in parts.items()
        }
        numbers = (table * is_number).to(dtype)
        columns = self.words[NUMBER_OF["A"] : NUMBER_OF["A"] + self.n_columns]
        asked, history = states[:, -1], torch.zeros_like(states[:, -1])
        rows, scalars = [is_row, is_row], [torch.zeros_like(is_row[:, 0])] * 3
        for _ in range(self.n_steps):
            now = self.drop(torch.cat([asked, history], 1))
            operations = chosen(self.operation(now).tanh() @ self.names.T)
            column = chosen(self.column(now).tanh() @ columns.T)
            a = dict(zip(self.operations, operations.unbind(1), strict=True))
            scalar, found, row = operate(a, column, numbers, conditions, rows, scalars)
            scalars, rows = [*scalars, scalar], [*rows, row]
            history = self.history(
                torch.cat([operations @ self.names, column @ columns, history], 1)
            ).tanh()
        return torch.cat([scalars[-1][:, None], found.flatten(1)], 1)

    def read(self, question: torch.Tensor) -> torch.Tensor:
        """Return the state after each word, [examples, words, dim]; it stays as it is after the
        last one.
        """
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
    """Return x_t [examples], y_t [examples, M, C] and s_t [examples, M] of one step, see
    Programmer.

    Args:
        a: How much of each operation there is, [examples] each.
        column: How much of each column, [examples, C].
        numbers: The table in hundredths, 0 where there is text, [examples, M, C].
        conditions: G, L and E by operation, [examples, M, C] each.
        rows: s before, the latest last; the first one is all the rows that there are.
        scalars: x before, the latest last; at least three.
    """
    before, last = rows[-2:]
    total = torch.einsum("nj,ni,nij->n", column, last, numbers) / 100
    scalar = (
        a["sum"] * total + a["count"] * last.sum(1) + a["difference"] * (scalars[-3] - scalars[-1])
    )
    found = (a["assign"][:, None] * last)[:, :, None] * column[:, None]
    of_two = a["and"][:, None] * torch.minimum(last, before) + a["or"][:, None] * torch.maximum(
        last, before
    )
    of_table = [
        a[name][:, None] * (holds @ column[:, :, None])[:, :, 0]
        for name, holds in conditions.items()
    ]
    return scalar, found, sum(of_table, of_two + a["reset"][:, None] * rows[0])


def one_hot(numbers: torch.Tensor, n: int) -> torch.Tensor:
    return numbers[..., None] == torch.arange(n, device=numbers.device)


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A question, its table and its answer.

    Args:
        words: The question without its numbers.
        pivots: Its numbers, in hundredths, each with the place of the word before it.
        table: Words by their place in VOCABULARY in the first columns, then numbers in hundredths,
            [rows, columns].
        scalar: The number asked for, in hundredths; None where entries are.
        entries: Which entries are asked for, [rows, columns]; none where a number is.
    """

    words: tuple[str, ...]
    pivots: tuple[tuple[int, int], ...]
    table: npt.NDArray[np.int64]
    scalar: int | None
    entries: npt.NDArray[np.bool_]


def ask(
    n_texts: int, n_columns: int, answers: str, n_conditions: int, draw: np.random.Generator
) -> Question:
    """Return a random question: up to two conditions on the rows and what is asked of them; or a
    difference.

    | question | answer |
    |---|---|
    | `sum C`, `count`, `print C` | of the rows for which the conditions hold: the sum of C, their number, the entries of C |
    | `sum C diff count`, `count diff sum C` | the one minus the other, of all rows |

    A condition is `greater 17.27 A`, `lesser -19.21 A` or, on a column of text, `is text3 A`; two
    of different kinds are joined by `and` or `or`. A column goes unnamed where there is one only.
    """
    n_rows = draw.integers(FEWEST_ROWS, MOST_ROWS + 1)
    texts = NUMBER_OF[TEXTS[0]] + draw.integers(len(TEXTS), size=(n_rows, n_texts))
    table = np.hstack(
        [texts, draw.integers(-LARGEST_ENTRY, LARGEST_ENTRY + 1, (n_rows, n_columns - n_texts))]
    )
    words: list[str] = []
    pivots: list[tuple[int, int]] = []
    rows = np.ones(n_rows, np.bool_)
    kind = _one_of(KINDS[answers], draw)

    def name(column: int) -> list[str]:
        return [NAMES[column]] if n_columns > 1 else []

    relations = draw.permutation(["greater", "lesser", *(["is"] if n_texts else [])]).tolist()
    for relation in relations[: 0 if kind == "diff" else draw.integers(n_conditions + 1)]:
        join = _one_of(("and", "or"), draw) if words else "and"
        words += [join] if words else []
        column = int(
            draw.integers(n_texts) if relation == "is" else draw.integers(n_texts, n_columns)
        )
        if relation == "is":
            text = _one_of(TEXTS, draw)
            holds = table[:, column] == NUMBER_OF[text]
            words += ["is", text, *name(column)]
        else:
            pivot = int(draw.integers(-LARGEST_PIVOT, LARGEST_PIVOT + 1))
            holds = table[:, column] > pivot if relation == "greater" else table[:, column] < pivot
            pivots.append((pivot, len(words)))
            words += [relation, *name(column)]
        rows = rows & holds if join == "and" else rows | holds
    column = int(draw.integers(0 if kind == "print" else n_texts, n_columns))
    total, count = int(table[rows, column].sum()), 100 * int(rows.sum())
    entries = np.zeros(table.shape, np.bool_)
    scalar: int | None = None
    if kind == "print":
        words += ["print", *name(column)]
        entries[:, column] = rows
    elif kind == "diff":
        terms = [(["sum", *name(column)], total), (["count"], count)]
        (first, minuend), (second, subtrahend) = terms if draw.integers(2) else terms[::-1]
        words, scalar = [*first, "diff", *second], minuend - subtrahend
    else:
        words += ["sum", *name(column)] if kind == "sum" else ["count"]
        scalar = total if kind == "sum" else count
    return Question(
        words=tuple(words), pivots=tuple(pivots), table=table, scalar=scalar, entries=entries
    )


def _one_of(words: Sequence[str], draw: np.random.Generator) -> str:
    return words[int(draw.integers(len(words)))]


def tensors(questions: Sequence[Question]) -> Batch:
    """Return the five inputs of `Programmer.forward`, then the scalar answers, the entries,
    [questions, M, C], and which are wanted.
    """
    n, n_columns = len(questions), questions[0].table.shape[1]
    words, table = (
        np.full((n, MOST_WORDS), NONE, np.int16),
        np.zeros((n, MOST_ROWS, n_columns), np.int16),
    )
    pivots, lefts = np.zeros((n, 2), np.int16), np.full((n, 2), -1, np.int16)
    n_rows, scalar, is_lookup = (
        np.zeros(n, np.int16),
        np.zeros(n, np.float32),
        np.zeros(n, np.bool_),
    )
    entries = np.zeros((n, MOST_ROWS, n_columns), np.bool_)
    for i, one in enumerate(questions):
        words[i, : len(one.words)] = [NUMBER_OF[word] for word in one.words]
        for k, (pivot, left) in enumerate(one.pivots):
            pivots[i, k], lefts[i, k] = pivot, left
        table[i, : len(one.table)], entries[i, : len(one.table)] = one.table, one.entries
        n_rows[i], scalar[i], is_lookup[i] = (
            len(one.table),
            (one.scalar or 0) / 100,
            one.scalar is None,
        )
    return tuple(
        map(torch.from_numpy, (words, pivots, lefts, table, n_rows, scalar, entries, is_lookup))
    )


@functools.lru_cache(maxsize=2)
def _data(n_texts: int, n_columns: int, answers: str, n_conditions: int, n_train: int) -> Splits:
    def split(name: str, n: int) -> Batch:
        draw = np.random.Generator(np.random.Philox(key=key(DATA_SEED, name, "tables")))
        return tensors([ask(n_texts, n_columns, answers, n_conditions, draw) for _ in range(n)])

    return Splits(
        train=split("train", n_train),
        validation=split("validation", N_HELD_OUT),
        test=split("test", N_HELD_OUT),
    )
