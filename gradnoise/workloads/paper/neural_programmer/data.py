"""The data of the Neural Programmer: random questions as tensors."""

import functools
from collections.abc import Sequence

import numpy as np
import torch

from gradnoise._keys import key
from gradnoise.workloads.base import Batch, Splits
from gradnoise.workloads.paper.neural_programmer.questions import (
    MOST_ROWS,
    NONE,
    NUMBER_OF,
    Question,
    random_question,
)

N_HELD_OUT = 500
DATA_SEED = 1511
MOST_WORDS = 12


@functools.lru_cache(maxsize=2)
def data(n_texts: int, n_columns: int, answers: str, n_conditions: int, n_train: int) -> Splits:
    """Return random questions as the tensors of `tensors`."""

    def split(name: str, n: int) -> Batch:
        draw = np.random.Generator(np.random.Philox(key=key(DATA_SEED, name, "tables")))
        return tensors(
            [random_question(n_texts, n_columns, answers, n_conditions, draw) for _ in range(n)]
        )

    return Splits(
        train=split("train", n_train),
        validation=split("validation", N_HELD_OUT),
        test=split("test", N_HELD_OUT),
    )


def tensors(questions: Sequence[Question]) -> Batch:
    """Return questions as tensors.

    Returns:
        The five inputs of `Programmer.forward`; the scalar answers, [questions]; the entry answers,
        [questions, M, C]; whether the answer is entries, [questions].
    """
    n, n_columns = len(questions), questions[0].table.shape[1]
    words = np.full((n, MOST_WORDS), NONE, np.int16)
    pivots, lefts = np.zeros((n, 2), np.int16), np.full((n, 2), -1, np.int16)
    table, n_rows = np.zeros((n, MOST_ROWS, n_columns), np.int16), np.zeros(n, np.int16)
    scalar, is_lookup = np.zeros(n, np.float32), np.zeros(n, np.bool_)
    entries = np.zeros((n, MOST_ROWS, n_columns), np.bool_)
    for i, question in enumerate(questions):
        words[i, : len(question.words)] = [NUMBER_OF[word] for word in question.words]
        for k, (pivot, left) in enumerate(question.pivots):
            pivots[i, k], lefts[i, k] = pivot, left
        n_rows[i] = len(question.table)
        table[i, : n_rows[i]], entries[i, : n_rows[i]] = question.table, question.entries
        scalar[i], is_lookup[i] = (question.scalar or 0) / 100, question.scalar is None
    return tuple(
        map(torch.from_numpy, (words, pivots, lefts, table, n_rows, scalar, entries, is_lookup))
    )
