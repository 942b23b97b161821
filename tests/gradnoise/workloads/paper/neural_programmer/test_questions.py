import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise.workloads.paper.neural_programmer.data import MOST_WORDS
from gradnoise.workloads.paper.neural_programmer.questions import (
    NAMES,
    NUMBER_OF,
    Question,
    random_question,
)


def answer(question: Question, n_texts: int) -> tuple[int | None, set[tuple[int, int]]]:
    """Return the answer to a question by its words: the scalar, in hundredths, and the entries."""
    words, table = list(question.words), question.table.tolist()
    n_columns = len(table[0])
    pivots = {left: pivot for pivot, left in question.pivots}
    everything = set(range(len(table)))
    rows, at = everything, 0

    def column(at: int, only: int) -> tuple[int, int]:
        return (NAMES.index(words[at]), at + 1) if n_columns > 1 else (only, at)

    join = ""
    while words[at] in ("greater", "lesser", "is", "and", "or"):
        if words[at] in ("and", "or"):
            join, at = words[at], at + 1
            continue
        word, value, at = words[at], pivots.get(at), at + 1
        if word == "is":
            value, at = NUMBER_OF[words[at]], at + 1
        j, at = column(at, 0)
        assert (j < n_texts) == (word == "is")
        holding = {
            i
            for i in everything
            if {
                "greater": table[i][j] > value,
                "lesser": table[i][j] < value,
                "is": table[i][j] == value,
            }[word]
        }
        rows = rows | holding if join == "or" else rows & holding
    scalars, entries = [], set()
    for word in words[at:]:
        if word in ("sum", "print"):
            j, _ = column(words.index(word) + 1, 0)
            scalars.append(sum(table[i][j] for i in rows))
            entries = {(i, j) for i in rows} if word == "print" else entries
        elif word == "count":
            scalars.append(100 * len(rows))
    if "print" in words:
        return None, entries
    return (scalars[0] - scalars[1] if "diff" in words else scalars[0]), set()


@settings(max_examples=200, deadline=None)
@given(
    n_texts=st.integers(0, 2),
    n_numbers=st.integers(1, 10),
    answers=st.sampled_from(["aggregates", "scalars", "entries", "all"]),
    n_conditions=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_the_answer_follows_from_the_words(
    n_texts: int, n_numbers: int, answers: str, n_conditions: int, seed: int
) -> None:
    n_columns = n_texts + n_numbers
    question = random_question(
        n_texts, n_columns, answers, n_conditions, np.random.default_rng(seed)
    )
    scalar, entries = answer(question, n_texts)
    assert question.scalar == scalar
    assert {(int(i), int(j)) for i, j in np.argwhere(question.entries)} == entries
    assert 30 <= len(question.table) <= 100
    assert question.table.shape == question.entries.shape == (len(question.table), n_columns)
    assert len(question.words) <= MOST_WORDS
    assert sum(word in ("greater", "lesser", "is") for word in question.words) <= n_conditions
    assert (scalar is None) == ("print" in question.words)
    assert answers == "all" or (scalar is None) == (answers == "entries")
    assert answers in ("all", "scalars") or "diff" not in question.words
