"""Event streams send each change to many clients, and end with study, client or service."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.testclient import TestClient

from gradnoise_service.usecases import feed
from gradnoise_service.usecases.feed import ProgressFeed, Watch

Event = dict[str, str]


def events_of(text: str) -> list[Event]:
    return [
        dict(line.split(": ", 1) for line in block.splitlines() if line)
        for block in text.strip().split("\n\n")
    ]


def test_ended_study_sends_its_progress_and_end(client: TestClient, workshop: Any) -> None:
    study = workshop.running()
    workshop.cancel(study)
    answer = client.get(f"/v1/studies/{study.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    progress, end = events_of(answer.text)
    assert (progress["event"], progress["id"], end["event"]) == ("progress", "1", "end")
    assert json.loads(progress["data"]) == client.get(f"/v1/studies/{study.id}/progress").json()
    assert json.loads(end["data"]) == {"state": "cancelled"}


@pytest.mark.parametrize(("last", "first"), [("41", "42"), ("x", "1"), ("9" * 40, "1"), ("²", "1")])
def test_numbering_continues_after_the_last_received_event(
    client: TestClient, workshop: Any, last: str, first: str
) -> None:
    study = workshop.queued()
    workshop.cancel(study)
    answer = client.get(f"/v1/studies/{study.id}/events", headers={"Last-Event-ID": last.encode()})
    assert events_of(answer.text)[0]["id"] == first


@dataclass
class Served:
    """The client's app behind a real server, because the test client buffers whole streams."""

    url: str
    server: uvicorn.Server
    feed: ProgressFeed


@pytest.fixture
def served(client: TestClient) -> Iterator[Served]:
    with serving(client) as served:
        yield served


@contextmanager
def serving(client: TestClient) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(client.app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Served(
            f"http://127.0.0.1:{listening.getsockname()[1]}", server, client.app.state.feed
        )  # type: ignore[attr-defined]
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


@asynccontextmanager
async def watching(http: httpx2.AsyncClient, study_id: int) -> AsyncIterator[AsyncIterator[Event]]:
    """Open a stream; the iterator yields its events."""

    async def events(response: httpx2.Response) -> AsyncIterator[Event]:
        event: Event = {}
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif event:
                yield event
                event = {}

    async with http.stream("GET", f"/v1/studies/{study_id}/events") as response:
        assert response.status_code == 200
        yield events(response)


def run(served: Served, conversation: Callable[[httpx2.AsyncClient], Any]) -> None:
    async def main() -> None:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(
            base_url=served.url, timeout=30, trust_env=False, limits=limits
        ) as http:
            await conversation(http)

    asyncio.run(main())


def test_change_is_sent_at_once(served: Served, workshop: Any) -> None:
    study = workshop.running()

    async def conversation(http: httpx2.AsyncClient) -> None:
        async with watching(http, study.id) as events:
            first = await anext(events)
            await http.post(f"/v1/studies/{study.id}/cancel")
            rest = [event async for event in events]
        assert json.loads(first["data"])["state"] == "running"
        assert [(event["event"], json.loads(event["data"])["state"]) for event in rest] == [
            ("progress", "cancelled"),
            ("end", "cancelled"),
        ]
        assert [event["id"] for event in (first, *rest)] == ["1", "2", "3"]

    run(served, conversation)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_more_streams_than_threads_block_no_request(served: Served, workshop: Any) -> None:
    """There are more streams than threads in the pool and connections to the database."""
    study = workshop.running()

    async def conversation(http: httpx2.AsyncClient) -> None:
        all_open = asyncio.Barrier(61)

        async def watch() -> str:
            async with watching(http, study.id) as events:
                await anext(events)
                await all_open.wait()
                return [event async for event in events][-1]["event"]

        watchers = [asyncio.create_task(watch()) for _ in range(60)]
        await all_open.wait()
        assert (await http.get("/v1/studies")).status_code == 200
        assert (await http.post(f"/v1/studies/{study.id}/cancel")).status_code == 200
        assert await asyncio.gather(*watchers) == ["end"] * 60

    run(served, conversation)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_stream_of_a_disconnected_client_ends(
    served: Served, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = workshop.running()
    has_left = threading.Event()

    class LeftWatch(Watch):
        async def change(self, seen: int) -> None:
            try:
                await (asyncio.Event().wait() if seen else super().change(seen))
            finally:
                if seen:
                    has_left.set()

    monkeypatch.setattr(feed, "Watch", LeftWatch)

    async def conversation(http: httpx2.AsyncClient) -> None:
        async with watching(http, study.id) as events:
            await anext(events)
        assert await asyncio.to_thread(has_left.wait, 30)

    run(served, conversation)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_closing_the_feed_ends_every_stream(served: Served, workshop: Any) -> None:
    """The event `end` is not sent, so that clients reconnect."""
    study = workshop.running()

    async def conversation(http: httpx2.AsyncClient) -> None:
        async with watching(http, study.id) as events:
            await anext(events)
            served.feed.close()
            assert [event["event"] async for event in events] == []

    run(served, conversation)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_stream_ends_when_its_token_is_revoked(
    make_client: Callable[..., TestClient], workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "TOKEN_SECONDS", 0)
    monkeypatch.setattr(feed, "INTERVAL_SECONDS", 0.01)
    admin = make_client("secret", host="0.0.0.0", admin_token="secret")
    token = admin.post("/v1/tokens", json={"name": "t", "owner": "o", "scopes": ["read"]}).json()
    study = workshop.running(owner="o")
    headers = {"Authorization": f"Bearer {token['token']}"}

    async def conversation(http: httpx2.AsyncClient) -> None:
        http.headers.update(headers)
        async with watching(http, study.id) as events:
            await anext(events)
            assert admin.delete("/v1/tokens/t").status_code == 204
            assert [event async for event in events] == []

    with serving(admin) as served:
        run(served, conversation)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_streams_of_an_owner_are_limited(
    make_client: Callable[..., TestClient], announced: None, workshop: Any
) -> None:
    """A stream that has ended makes room."""
    study = workshop.running()

    async def conversation(http: httpx2.AsyncClient) -> None:
        path = f"/v1/studies/{study.id}/events"
        async with watching(http, study.id) as first, watching(http, study.id) as second:
            await anext(first)
            await anext(second)
            refused = await http.get(path)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
            await http.post(f"/v1/studies/{study.id}/cancel")
            assert [(await anext(first))["event"], (await anext(first))["event"]] == [
                "progress",
                "end",
            ]
            assert [event async for event in first] == []
        assert (await http.get(path)).status_code == 200

    with serving(make_client(event_streams=2)) as served:
        run(served, conversation)
