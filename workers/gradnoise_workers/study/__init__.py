"""Running one study: phases, decisions, transactions, Optuna, and the loop that connects them."""

from gradnoise_workers.study.ledger import Ledger, PausedError
from gradnoise_workers.study.optuna_sync import OptunaSync
from gradnoise_workers.study.preparation import preparation_fault, rehearsals, untrained_level
from gradnoise_workers.study.run import StudyRun

__all__ = [
    "Ledger",
    "OptunaSync",
    "PausedError",
    "StudyRun",
    "preparation_fault",
    "rehearsals",
    "untrained_level",
]
