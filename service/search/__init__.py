"""The search: the only user of Optuna."""

from service.search.arm_search import ArmSearch, Suggestion
from service.search.storage import Storage, open_storage, prepare

__all__ = ["ArmSearch", "Storage", "Suggestion", "open_storage", "prepare"]
