"""Requests to one service: repeated where that is safe, with errors as exceptions."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

from gradnoise_service.client.errors import ApiError, UnreachableError

BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
N_REPEATS = 3
LONGEST_WAIT_SECONDS = 60.0
UNAVAILABLE = frozenset({502, 503, 504})
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Transport:
    """Sends requests to one service.

    A request that fails is repeated up to `N_REPEATS` times with growing pauses: after a 429, which
    the service never processed; after a 502, 503, 504 or a broken connection only if the method is
    GET or the caller sets `may_repeat`.

    Args:
        base_url: The address of the service.
        token: An API token; a service on a loopback address needs none.
        patience_seconds: How long to reconnect a lost event stream before giving up.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        patience_seconds: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        headers = {"Accept": "application/json"} | (
            {"Authorization": f"Bearer {token.strip()}"} if token else {}
        )
        url = _parsed(self.base_url)
        self._http = httpx2.Client(
            base_url=url,
            headers=headers,
            timeout=httpx2.Timeout(30, connect=5),
            trust_env=url.host not in LOOPBACK_HOSTS,
        )

    def close(self) -> None:
        self._http.close()

    def request(
        self, method: str, path: str, *, may_repeat: bool = False, **options: Any
    ) -> httpx2.Response:
        """Send a request and return the response if it is a success.

        Args:
            method: The HTTP method.
            path: The path below the base URL.
            may_repeat: Whether the request may be sent again although its effect is unknown.
            options: Further arguments of httpx2: json, params, headers.

        Raises:
            UnreachableError: If the service cannot be reached.
            ApiError: If the service refuses the request.
        """
        may_repeat = may_repeat or method == "GET"
        for pause_seconds in (*BACKOFF_SECONDS[:N_REPEATS], None):
            try:
                response = self._http.request(method, path, **options)
            except httpx2.TransportError as error:
                was_sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if pause_seconds is None or not (may_repeat and was_sent):
                    raise UnreachableError(self.base_url, _reason(error)) from None
                self._sleep(pause_seconds)
                continue
            is_temporary = response.status_code == 429 or (
                may_repeat and response.status_code in UNAVAILABLE
            )
            if pause_seconds is None or not is_temporary:
                break
            self._sleep(max(pause_seconds, _retry_after_seconds(response)))
        raise_for_status(response)
        return response

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield the body of a GET request in parts; it is sent once.

        Raises:
            UnreachableError: If the service cannot be reached, or the connection breaks.
            ApiError: If the service refuses the request.
        """
        try:
            with self._http.stream("GET", path) as response:
                raise_for_status(response)
                yield from response.iter_bytes()
        except httpx2.TransportError as error:
            raise UnreachableError(self.base_url, _reason(error)) from None

    def get_once(self, path: str) -> httpx2.Response:
        """Send one GET request and return the response, whatever its status.

        Raises:
            UnreachableError: If the service cannot be reached.
        """
        try:
            return self._http.request("GET", path)
        except httpx2.TransportError as error:
            raise UnreachableError(self.base_url, _reason(error)) from None

    def pages(self, path: str, params: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        page = self.request("GET", path, params=given).json()
        yield from page["items"]
        while page.get("next"):
            page = self.request("GET", page["next"]).json()
            yield from page["items"]

    def events(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield name and data of each server-sent event until the event `end`.

        A lost connection is reopened after the last event received.

        Raises:
            UnreachableError: If a lost connection cannot be reopened for `patience_seconds`.
            ApiError: If the service refuses the request.
        """
        last_id, n_attempts, lost_at = "", 0, time.monotonic()
        while True:
            was_connected = False
            try:
                headers = {"Last-Event-ID": last_id} if last_id else {}
                timeout = httpx2.Timeout(60, connect=5)
                with self._http.sse(path, headers=headers, timeout=timeout) as source:
                    raise_for_status(source.response)
                    for event in source:
                        last_id = event.id or last_id
                        if event.event == "end":
                            return
                        was_connected = True
                        yield event.event, event.data
                reason = "the event stream ended early"
            except httpx2.TransportError as error:
                reason = _reason(error)
            except ApiError as error:
                if error.status not in UNAVAILABLE:
                    raise
                reason = error.title
            if was_connected:  # also if the last event is long ago
                n_attempts, lost_at = 0, time.monotonic()
            if time.monotonic() - lost_at > self._patience_seconds:
                raise UnreachableError(self.base_url, reason)
            self._sleep(BACKOFF_SECONDS[min(n_attempts, len(BACKOFF_SECONDS) - 1)])
            n_attempts += 1


def raise_for_status(response: httpx2.Response) -> None:
    """Raise ApiError unless the response is a success."""
    if response.is_success:
        return
    response.read()
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {
            "title": f"HTTP {response.status_code} {response.reason_phrase}",
            "detail": response.text[:500],
        }
    raise ApiError(response.status_code, problem)


def _parsed(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise UnreachableError(text, str(error)) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UnreachableError(text, "an address looks like http://127.0.0.1:8000")
    return url


def _retry_after_seconds(response: httpx2.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT_SECONDS) if text.isdecimal() else 0.0


def _reason(error: httpx2.TransportError) -> str:
    text = str(error).removeprefix("[Errno 111] ").strip().rstrip(".")
    return (text[:1].lower() + text[1:]) or type(error).__name__
