import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise._streams import normal
from gradnoise.techniques.dropout_layers import activation_shapes
from gradnoise.techniques.masks import DropoutMasks
from gradnoise.workloads.paper.neural_programmer.data import tensors
from gradnoise.workloads.paper.neural_programmer.model import OPERATIONS, Programmer, operate
from gradnoise.workloads.paper.neural_programmer.questions import (
    NAMES,
    NUMBER_OF,
    Question,
    random_question,
)


def programmer(**changes: Any) -> Programmer:
    model = Programmer(**{"n_texts": 1, "n_columns": 3, "dim": 4, "n_steps": 4} | changes).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(1, "init", 0, name, parameter.shape))
    return model


def program(words: list[str], n_columns: int) -> list[tuple[str, int]]:
    """Return four operations, each with its column, that answer a question."""

    def column(at: int) -> int:
        return NAMES.index(words[at]) if n_columns > 1 else 0

    conditions, joins, last = [], [], []
    for i, word in enumerate(words):
        if word in ("greater", "lesser", "is"):
            conditions.append(("match" if word == "is" else word, column(i + 1 + (word == "is"))))
        elif word in ("and", "or"):
            joins.append((word, 0))
        elif word in ("sum", "print"):
            last.append(("assign" if word == "print" else "sum", column(i + 1)))
        elif word == "count":
            last.append(("count", 0))
    if "diff" in words:
        return [last[0], ("reset", 0), last[1], ("difference", 0)]
    steps = [*conditions, *joins, *last]
    return [("reset", 0)] * (4 - len(steps)) + steps


@settings(max_examples=100, deadline=None)
@given(n_texts=st.integers(0, 2), n_numbers=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_four_operations_answer_every_question_exactly(
    n_texts: int, n_numbers: int, seed: int
) -> None:
    question = random_question(n_texts, n_texts + n_numbers, "all", 2, np.random.default_rng(seed))
    table = torch.from_numpy(question.table).double()
    n_rows, n_columns = table.shape
    conditions = {}
    for name, word in (("greater", "greater"), ("lesser", "lesser"), ("match", "is")):
        at = question.words.index(word) if word in question.words else -1
        value = (
            NUMBER_OF[question.words[at + 1]]
            if word == "is" and at >= 0
            else {left: pivot for pivot, left in question.pivots}.get(at, 0)
        )
        holds = {"greater": table > value, "lesser": table < value, "is": table == value}[word]
        conditions[name] = holds.double()[None]
    rows, scalars = [torch.ones(1, n_rows).double()] * 2, [torch.zeros(1).double()] * 3
    for operation, column in program(list(question.words), n_columns):
        a = {name: torch.tensor([float(name == operation)]).double() for name in OPERATIONS}
        scalar, found, row = operate(
            a, torch.eye(n_columns).double()[column][None], table[None], conditions, rows, scalars
        )
        rows, scalars = [*rows, row], [*scalars, scalar]
    assert float(scalars[-1]) == pytest.approx((question.scalar or 0) / 100, abs=1e-9)
    assert torch.equal(found[0], torch.from_numpy(question.entries).double())


def softmax(scores: torch.Tensor, is_hard: bool) -> list[float]:
    odds = [float(score == scores.max()) if is_hard else math.exp(float(score)) for score in scores]
    return [part / sum(odds) for part in odds]


def by_hand(
    model: Programmer,
    question: Question,
    n_texts: int,
    *,
    is_hard: bool,
    mask: torch.Tensor | None = None,
) -> tuple[float, torch.Tensor]:
    """Return the answer to a question by the formulas, number by number.

    The mask multiplies [q; h_t], which chooses operations and columns.
    """
    table, (n_rows, n_columns) = question.table.tolist(), question.table.shape
    names = dict(zip(model.operations, model.names, strict=True))
    state, states = torch.zeros(model.words.shape[1], dtype=torch.float64), []
    for word in question.words:
        state = torch.tanh(
            model.question.weight @ torch.cat([model.words[NUMBER_OF[word]], state])
            + model.question.bias
        )
        states.append(state)
    truths = {
        "greater": lambda entry, k: entry > k,
        "lesser": lambda entry, k: entry < k,
        "match": lambda entry, k: entry == k,
    }
    holds = {}
    for name in ("greater", "lesser", "match"):
        arguments = (
            [(NUMBER_OF[word], i) for i, word in enumerate(question.words)]
            if name == "match"
            else question.pivots
        )
        shares = (
            softmax(torch.stack([states[left] @ names[name] for _, left in arguments]), is_hard)
            if arguments
            else []
        )
        holds[name] = [
            [
                sum(
                    share * truths[name](table[i][j], k)
                    for share, (k, _) in zip(shares, arguments, strict=True)
                )
                if (j < n_texts) == (name == "match")
                else 0.0
                for j in range(n_columns)
            ]
            for i in range(n_rows)
        ]
    columns = torch.stack([model.words[NUMBER_OF[name]] for name in NAMES[:n_columns]])
    history = torch.zeros_like(state)
    rows, scalars, found = [[1.0] * n_rows] * 2, [0.0] * 3, torch.zeros(n_rows, n_columns)
    for _ in range(model.n_steps):
        now = torch.cat([states[-1], history])
        now = now if mask is None else now * mask
        shares = softmax(model.names @ torch.tanh(model.operation.weight @ now), is_hard)
        p = softmax(columns @ torch.tanh(model.column.weight @ now), is_hard)
        a = dict(zip(model.operations, shares, strict=True))
        last, before = rows[-1], rows[-2]
        total = sum(
            p[j] * last[i] * table[i][j] / 100
            for i in range(n_rows)
            for j in range(n_texts, n_columns)
        )
        scalars.append(
            a["sum"] * total
            + a["count"] * sum(last)
            + a["difference"] * (scalars[-3] - scalars[-1])
        )
        found = torch.tensor(
            [[a["assign"] * p[j] * last[i] for j in range(n_columns)] for i in range(n_rows)]
        )
        rows.append(
            [
                sum(p[j] * a[name] * holds[name][i][j] for name in holds for j in range(n_columns))
                + a["and"] * min(last[i], before[i])
                + a["or"] * max(last[i], before[i])
                + a["reset"]
                for i in range(n_rows)
            ]
        )
        mixed = sum(share * name for share, name in zip(shares, model.names, strict=True))
        history = torch.tanh(
            model.history.weight @ torch.cat([mixed, torch.tensor(p).double() @ columns, history])
            + model.history.bias
        )
    return scalars[-1], found


@torch.no_grad()
@pytest.mark.parametrize("is_hard", [False, True])
def test_it_computes_the_papers_formulas(is_hard: bool) -> None:
    """In a batch of questions with longer and shorter tables and texts."""
    model = programmer()
    draw = np.random.default_rng(5)
    questions = [random_question(1, 3, "all", 2, draw) for _ in range(6)]
    assert len({len(question.table) for question in questions}) > 1
    found = model(*tensors(questions)[:5], is_hard)
    for i, question in enumerate(questions):
        n_rows = len(question.table)
        scalar, entries = by_hand(model, question, 1, is_hard=is_hard)
        assert float(found[i, 0]) == pytest.approx(scalar, rel=1e-9, abs=1e-9)
        rows = found[i, 1:].view(-1, 3)
        torch.testing.assert_close(rows[:n_rows], entries.double(), rtol=1e-9, atol=1e-9)
        assert not rows[n_rows:].any()


@torch.no_grad()
def test_dropout_acts_where_operations_and_columns_are_chosen() -> None:
    """Each example has the same mask on [q; h_t] in all steps; there is no dropout in evaluation."""
    model = programmer()
    draw = np.random.default_rng(5)
    questions = [random_question(1, 3, "all", 2, draw) for _ in range(3)]
    inputs = tensors(questions)[:5]
    assert activation_shapes(model, lambda: model(*inputs)) == {"drop": (3, 8)}
    whole = model(*inputs)
    model.drop.mask = DropoutMasks(rate=0.5).draw(1, 0, "drop", torch.ones(3, 8).double())
    found = model(*inputs)
    for i, question in enumerate(questions):
        scalar, entries = by_hand(model, question, 1, is_hard=False, mask=model.drop.mask[i])
        assert float(found[i, 0]) == pytest.approx(scalar, rel=1e-9, abs=1e-9)
        torch.testing.assert_close(
            found[i, 1:].view(-1, 3)[: len(question.table)], entries.double(), rtol=1e-9, atol=1e-9
        )
    assert not torch.equal(found, whole)
    assert torch.equal(model.eval()(*inputs), whole)
