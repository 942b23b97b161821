"""Addresses of the next page."""

from gradnoise_service.api.pagination import next_address


def test_address_continues_at_the_cursor_with_the_filters() -> None:
    """Filters that are None are left out."""
    address = next_address("/v1/studies", {"before": 7}, {"limit": 2, "state": None})
    assert address == "/v1/studies?before=7&limit=2"


def test_last_page_has_no_next_address() -> None:
    assert next_address("/v1/studies", {"before": None}, {"limit": 2}) is None
