"""Rate limits are per client."""

from collections.abc import Callable

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from gradnoise_service.api import limits
from gradnoise_service.api.limits import Limiter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def n_taken(limiter: Limiter, client: str, tries: int) -> int:
    for n in range(tries):
        try:
            limiter.take(client)
        except HTTPException:
            return n
    return tries


def test_bucket_empties_and_refills() -> None:
    clock = Clock()
    limiter = Limiter(60, clock)
    assert n_taken(limiter, "a", 100) == 60
    clock.now += 5
    assert n_taken(limiter, "a", 100) == 5
    clock.now += 3600
    assert n_taken(limiter, "a", 100) == 60


def test_each_client_has_a_bucket() -> None:
    limiter = Limiter(10, Clock())
    assert (n_taken(limiter, "a", 20), n_taken(limiter, "b", 20)) == (10, 10)


def test_request_after_the_retry_time_is_accepted() -> None:
    clock = Clock()
    limiter = Limiter(7, clock)
    n_taken(limiter, "a", 7)
    with pytest.raises(HTTPException) as refusal:
        limiter.take("a")
    assert refusal.value.headers is not None
    clock.now += int(refusal.value.headers["Retry-After"])
    limiter.take("a")


def test_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 3)
    limiter = Limiter(1, Clock())
    for client in "abcd":
        limiter.take(client)
    limiter.take("a")  # its bucket was dropped, so it is full again
    assert n_taken(limiter, "d", 1) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_too_many_requests_are_429_except_health_checks(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(requests_per_minute=2)
    assert [client.get("/v1/presets").status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/v1/presets")
    assert (refused.json()["type"], int(refused.headers["retry-after"]) > 0) == (
        "/docs#too-many-requests",
        True,
    )
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_guessed_tokens_do_not_count_against_the_owner(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(requests_per_minute=2, host="0.0.0.0", admin_token="secret")
    guesses = [
        client.get("/v1/presets", headers={"Authorization": f"Bearer {i}"}).status_code
        for i in range(3)
    ]
    assert guesses == [401, 401, 429]
    assert client.get("/v1/presets", headers={"Authorization": "Bearer secret"}).status_code == 200
