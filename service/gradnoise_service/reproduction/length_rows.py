"""The results by training length in words: a sentence and a row of the table for each claim."""

from collections.abc import Iterator, Sequence

from gradnoise_service.report.markdown_syntax import escaped
from gradnoise_service.report.words.numbers import as_words, signed, span
from gradnoise_service.reproduction.claims import AGREEING_VERDICTS, Claim
from gradnoise_service.reproduction.results import RowResult, TableResult
from gradnoise_service.reproduction.training_length import AtLength, first_with

N_SHOWN = 6
"""Lengths in the table, evenly spaced; the picture has all."""

LENGTHS = (
    "The same runs after fewer updates, at a constant learning rate, so that the first updates of "
    "a long run are a shorter run. The verdict of each length is about that length alone; the "
    "error probability over all lengths together is larger than 5 %."
)


def length_header(result: TableResult) -> tuple[str, ...]:
    """Return the header: the lengths in updates."""
    (lengths, updates) = _first(result)
    shown = (f"{at.epochs * updates:,} updates" for at in _shown(lengths))
    return ("row", "arm", "pairs", *shown)


def length_rows(result: TableResult) -> Iterator[tuple[str, ...]]:
    """Yield for each claim the difference from the baseline at each length."""
    for row in result.rows:
        for i, claim in enumerate(row.lengths[-1].claims if row.lengths else ()):
            cells = (_cell(at.claims[i]) for at in _shown(row.lengths))
            yield (escaped(row.row.title), escaped(claim.arm), str(claim.result.n), *cells)


def length_sentences(result: TableResult) -> Iterator[str]:
    """Yield a list item for each claim of the paper: the length from which ours agrees."""
    updates = result.table.updates_per_epoch or 0
    for row in result.rows:
        for claim in row.lengths[-1].claims if row.lengths else ():
            if claim.rank is not None:
                yield f"- **{escaped(row.row.title)}, {claim.arm}**: {_agrees(row, claim, updates)}"


def _agrees(row: RowResult, claim: Claim, updates: int) -> str:
    assert claim.rank is not None
    paper = f"{claim.rank} the {claim.baseline} in the paper"
    agreeing = AGREEING_VERDICTS[claim.rank]
    since = first_with(row.lengths, claim.arm, agreeing)
    last = row.lengths[-1].epochs * updates
    if since is None:
        verdict = as_words(claim.result.verdict)
        return f"{paper}; not here up to {last:,} updates ({verdict} there)."
    earlier = [at.epochs for at in row.lengths if at.epochs < since]
    if not earlier:
        return f"{paper}, and here from {since * updates:,} to {last:,} updates."
    return (
        f"{paper}; here not at {earlier[-1] * updates:,} updates, from about "
        f"{since * updates:,} to {last:,}."
    )


def _cell(claim: Claim) -> str:
    result = claim.result
    if result.difference is None:
        return "–"
    ends = f"<br>({span(result.interval)})" if result.interval else ""
    return f"{signed(result.difference)}{ends}<br>{as_words(result.verdict)}"


def _first(result: TableResult) -> tuple[Sequence[AtLength], int]:
    lengths = next(row.lengths for row in result.rows if row.lengths)
    return lengths, result.table.updates_per_epoch or 0


def _shown(lengths: Sequence[AtLength]) -> list[AtLength]:
    apart = -(-len(lengths) // N_SHOWN)
    return list(reversed(lengths[::-1][::apart]))
