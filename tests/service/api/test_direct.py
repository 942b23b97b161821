"""Legal requests are answered without FastAPI, and the others as FastAPI answers them."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response
from starlette.testclient import TestClient

from gradnoise_service.api.direct import DirectRoute


async def shout(request: Request) -> str:
    return request.headers.get("x-word", "hey").upper()


def endpoint(
    word: Annotated[str, Depends(shout)],
    number: Annotated[int, Path(ge=1)],
    limit: Annotated[int, Query(le=9)] = 5,
    only: Annotated[str | None, Query(alias="of")] = None,
    key: Annotated[str | None, Header(alias="X-Key")] = None,
) -> Response:
    return Response(f"{word} {number} {limit} {only} {key}")


def needs_query(size: Annotated[int, Query()]) -> Response:
    return Response(str(size))


def no_response() -> dict[str, int]:
    return {"n": 1}


@pytest.fixture(params=["direct", "FastAPI"])
def client(request: pytest.FixtureRequest) -> TestClient:
    app = FastAPI()
    if request.param == "direct":
        app.router.route_class = DirectRoute
    app.add_api_route("/numbers/{number}", endpoint)
    app.add_api_route("/sizes", needs_query)
    app.add_api_route("/plain", no_response)
    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/numbers/3", "HEY 3 5 None k"),
        ("/numbers/3?limit=9&limit=8&of=a&more=1", "HEY 3 8 a k"),
        ("/numbers/3?of=", "HEY 3 5  k"),
        ("/sizes?size=4", "4"),
        ("/plain", '{"n":1}'),
    ],
)
def test_legal_requests(client: TestClient, path: str, answer: str) -> None:
    assert client.get(path, headers={"x-key": "k"}).text == answer


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/numbers/0", ["path", "number"]),
        ("/numbers/3?limit=10", ["query", "limit"]),
        ("/numbers/3?limit=", ["query", "limit"]),
        ("/sizes", ["query", "size"]),
    ],
)
def test_faults_are_named(client: TestClient, path: str, place: list[str]) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, place)
