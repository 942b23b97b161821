"""Fixtures: studies in every state."""

from api_fixtures import workshop

__all__ = ["workshop"]
