"""The pages belong to the same app as the API: its fixtures serve here too."""

from api_fixtures import announced, client, make_client, plain_spec, workshop

__all__ = ["announced", "client", "make_client", "plain_spec", "workshop"]
