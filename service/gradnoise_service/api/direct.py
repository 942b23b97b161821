"""Routes whose requests FastAPI describes, but does not answer.

FastAPI solves dependencies and parameters of a request in about as much time as the service takes
to find a study.
"""

from functools import partial
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gradnoise_service.api.threads import in_thread


class DirectRoute(APIRoute):
    """A route that reads the parameters of legal requests itself.

    The endpoint is a function that returns a `Response`. Its parameters are scalars of path, query
    or header, or dependencies on a coroutine of the request. FastAPI answers the requests with an
    illegal parameter, and those of endpoints of any other form.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.answer_by_fastapi = self.app
        self.dependencies_by_name: dict[Any, Any] = {
            dependency.name: dependency.call for dependency in self.dependant.dependencies
        }
        if self.endpoint.__annotations__["return"] is Response and not self.body_field:
            self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        values = self._parameters(request)
        if values is None:
            await self.answer_by_fastapi(scope, receive, send)
            return
        for name, call in self.dependencies_by_name.items():
            values[name] = await call(request)
        response = await in_thread(partial(self.endpoint, **values))
        await response(scope, receive, send)

    def _parameters(self, request: Request) -> dict[str, Any] | None:
        """Return the parameters by name; None if there is an illegal value."""
        values: dict[str, Any] = {}
        needed = self.dependant
        for fields, received in (
            (needed.path_params, request.path_params),
            (needed.query_params, request.query_params),
            (needed.header_params, request.headers),
        ):
            for field in fields:
                given = received.get(field.alias)
                if given is None:
                    if field.field_info.is_required():
                        return None
                    values[field.name] = field.field_info.default
                else:
                    values[field.name], faults = field.validate(given)
                    if faults:
                        return None
        return values
