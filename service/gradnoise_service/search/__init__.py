"""The search: the only user of Optuna."""

from gradnoise_service.search.arm_search import ArmSearch
from gradnoise_service.search.dashboard import publish
from gradnoise_service.search.storage import Storage, delete, open_storage, prepare

__all__ = ["ArmSearch", "Storage", "delete", "open_storage", "prepare", "publish"]
