"""Fixtures: studies in every state."""

from api_fixtures import announced, workshop

__all__ = ["announced", "workshop"]
