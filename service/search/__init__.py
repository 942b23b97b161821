"""The search: the only user of Optuna."""

from service.search.arm_search import ArmSearch, Suggestion
from service.search.storage import open_storage, prepare

__all__ = ["ArmSearch", "Suggestion", "open_storage", "prepare"]
