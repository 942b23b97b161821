"""Logs: what the attempts of trials have printed, in pieces, bounded for each attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.log import LogPiece
from gradnoise_service.domain.plain_text import plain
from gradnoise_service.store.attempts import trial_of
from gradnoise_service.store.tables import LOG, AttemptRow, LogRow, TrialRow


@dataclass(frozen=True, kw_only=True)
class NewText:
    """What an attempt has printed since the last time.

    Args:
        token: The attempt's lease token.
        position: Characters that it printed before.
        text: What it printed.
    """

    token: str
    position: int
    text: str


def record(session: Session, study_id: int, texts: Sequence[NewText], n_kept: int) -> None:
    """Store what attempts have printed; of each, the first and about the last `n_kept` characters.

    The attempts must run, which `attempts.add_cost` checks in the same transaction.
    """
    rows = [
        {"study_id": study_id, "lease_token": new.token, "position": position, "text": plain(text)}
        for new in texts
        for position, text in _kept(new, n_kept)
    ]
    if not rows:
        return
    session.execute(insert(LogRow), rows)
    outdated = delete(LOG).where(
        LOG.c.lease_token == bindparam("token"),
        LOG.c.position >= n_kept,
        LOG.c.position + func.length(LOG.c.text) <= bindparam("tail"),
    )
    ends = {new.token: new.position + len(new.text) for new in texts}
    tails = [
        {"token": token, "tail": end - n_kept} for token, end in ends.items() if end > 2 * n_kept
    ]
    if tails:
        session.connection().execute(outdated, tails)


def page(
    session: Session, study_id: int, *, after: int, limit: int, trial_id: int | None = None
) -> list[LogPiece]:
    """Return up to `limit` pieces of a study's log with ids above `after`, in stored order."""
    query = _pieces().where(LogRow.study_id == study_id, LogRow.id > after).order_by(LogRow.id)
    if trial_id is not None:
        query = query.where(TrialRow.id == trial_id)
    return _read(session, query.limit(limit))


def of_trial(session: Session, trial_id: int) -> Mapping[int, Sequence[LogPiece]]:
    """Return the pieces of a trial's log in order, by the number of the attempt."""
    found: dict[int, list[LogPiece]] = {}
    query = _pieces().where(TrialRow.id == trial_id)
    for piece in _read(session, query.order_by(AttemptRow.number, LogRow.position)):
        found.setdefault(piece.attempt, []).append(piece)
    return found


def _pieces() -> Select[LogRow, TrialRow, int]:
    return (
        select(LogRow, TrialRow, AttemptRow.number)
        .join(AttemptRow, AttemptRow.lease_token == LogRow.lease_token)
        .join(TrialRow, TrialRow.id == AttemptRow.trial_id)
    )


def _read(session: Session, query: Select[LogRow, TrialRow, int]) -> list[LogPiece]:
    pieces = []
    for row, trial_row, attempt in session.execute(query):
        trial = trial_of(trial_row)
        pieces.append(
            LogPiece(
                id=row.id,
                trial_id=trial.id,
                phase=trial.phase,
                arm=trial.arm,
                number=trial.number,
                attempt=attempt,
                position=row.position,
                text=row.text,
            )
        )
    return pieces


def _kept(new: NewText, n_kept: int) -> list[tuple[int, str]]:
    """Return the parts of a text to store, with their positions: of the head, and of the tail."""
    n_head = max(0, min(len(new.text), n_kept - new.position))
    rest = new.text[n_head:]
    tail = rest[-n_kept:]
    end = new.position + len(new.text)
    parts = [(new.position, new.text[:n_head]), (end - len(tail), tail)]
    return [(position, text) for position, text in parts if text]
