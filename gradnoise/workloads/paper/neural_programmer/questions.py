"""Random questions about random tables, with their answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_ROWS, MOST_ROWS = 30, 100
LARGEST_ENTRY, LARGEST_PIVOT = 10_000, 8_000  # in hundredths
N_TEXTS = 10

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A question, its table and its answer.

    Args:
        words: The question without its numbers.
        pivots: Its numbers, in hundredths, each with the index of the word before it.
        table: First columns of words, as indices into VOCABULARY, then columns of numbers, in
            hundredths; [rows, columns].
        scalar: The scalar answer, in hundredths; None if the answer is entries.
        entries: The entries of the answer, [rows, columns]; all False if the answer is a scalar.
    """

    words: tuple[str, ...]
    pivots: tuple[tuple[int, int], ...]
    table: npt.NDArray[np.int64]
    scalar: int | None
    entries: npt.NDArray[np.bool_]


def random_question(
    n_texts: int, n_columns: int, answers: str, n_conditions: int, draw: np.random.Generator
) -> Question:
    """Return a random question about a random table: conditions on rows and an aggregate of them.

    | question | answer |
    |---|---|
    | `sum C` | the sum of column C over the rows that fulfil the conditions |
    | `count` | the number of these rows |
    | `print C` | the entries of column C in these rows |
    | `sum C diff count` | the sum of column C minus the number of rows, over all rows |
    | `count diff sum C` | the number of rows minus the sum of column C, over all rows |

    A condition is `greater 17.27 A`, `lesser -19.21 A` or, on a text column, `is text3 A`. Two
    conditions of different kinds are joined by `and` or `or`. If a table has a single column, its
    name is omitted.

    Args:
        n_texts: Text columns.
        n_columns: All columns.
        answers: A key of KINDS.
        n_conditions: Largest number of conditions.
        draw: Source of randomness.
    """
    n_rows = draw.integers(FEWEST_ROWS, MOST_ROWS + 1)
    texts = NUMBER_OF[TEXTS[0]] + draw.integers(len(TEXTS), size=(n_rows, n_texts))
    table = np.hstack(
        [texts, draw.integers(-LARGEST_ENTRY, LARGEST_ENTRY + 1, (n_rows, n_columns - n_texts))]
    )
    words: list[str] = []
    pivots: list[tuple[int, int]] = []
    rows = np.ones(n_rows, np.bool_)
    kind = _choice(KINDS[answers], draw)

    def name(column: int) -> list[str]:
        return [NAMES[column]] if n_columns > 1 else []

    relations = draw.permutation(["greater", "lesser", *(["is"] if n_texts else [])]).tolist()
    for relation in relations[: 0 if kind == "diff" else draw.integers(n_conditions + 1)]:
        join = _choice(("and", "or"), draw) if words else "and"
        words += [join] if words else []
        column = int(
            draw.integers(n_texts) if relation == "is" else draw.integers(n_texts, n_columns)
        )
        if relation == "is":
            text = _choice(TEXTS, draw)
            fulfilled = table[:, column] == NUMBER_OF[text]
            words += ["is", text, *name(column)]
        else:
            pivot = int(draw.integers(-LARGEST_PIVOT, LARGEST_PIVOT + 1))
            fulfilled = (
                table[:, column] > pivot if relation == "greater" else table[:, column] < pivot
            )
            pivots.append((pivot, len(words)))
            words += [relation, *name(column)]
        rows = rows & fulfilled if join == "and" else rows | fulfilled
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


def _choice(words: Sequence[str], draw: np.random.Generator) -> str:
    return words[int(draw.integers(len(words)))]
