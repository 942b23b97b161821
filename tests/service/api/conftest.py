"""The API's fixtures."""

from api_fixtures import announced, client, make_client, plain_spec, workshop

__all__ = ["announced", "client", "make_client", "plain_spec", "workshop"]
