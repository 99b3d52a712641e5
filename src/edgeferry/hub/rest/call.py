"""One request to the service REST whose sender is known, and the answers that handlers give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from edgeferry.hub.access import Caller
from edgeferry.hub.core import invalid
from edgeferry.wire.hub import IfMatch, Json, RefusalError, parse_if_match, parse_json, render_json
from edgeferry.wire.openapi import Operation

JSON_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Call:
    """A request whose sender may ask this."""

    request: Request
    caller: Caller
    body: bytes

    def path(self, name: str) -> str:
        """The decoded part of the path."""
        return str(self.request.path_params[name])

    @property
    def device(self) -> str:
        return self.path("device")

    @property
    def module(self) -> str | None:
        module = self.request.path_params.get("module")
        return None if module is None else str(module)

    @property
    def if_match(self) -> IfMatch:
        return parse_if_match(self.request.headers.get("if-match"))

    def top(self, at_most: int) -> int:
        """How many items the caller wants; RefusalError when it is no number from 1."""
        text = self.request.query_params.get("top")
        if text is None:
            return at_most
        if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
            raise invalid(f"top is {text!r}", "give a whole number from 1")
        return min(int(text), at_most)

    def json(self) -> Json:
        """The body as a JSON object; RefusalError DeserializationError."""
        value = self._parsed()
        if not isinstance(value, dict):
            raise RefusalError("DeserializationError", "the body is not a JSON object", fix="send an object")
        return value

    def json_list(self) -> list[Any]:
        """The body as a JSON list; RefusalError DeserializationError."""
        value = self._parsed()
        if not isinstance(value, list):
            raise RefusalError("DeserializationError", "the body is not a JSON list", fix="send a list")
        return value

    def _parsed(self) -> Any:
        try:
            return parse_json(self.body)
        except ValueError as error:
            raise RefusalError(
                "DeserializationError", f"the body is not JSON: {error}", fix="send JSON"
            ) from error


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """An operation and who answers it."""

    operation: Operation
    handler: Handler


def ok(document: Any, etag: str | None = None, status: int = 200) -> Response:
    """The document, with its etag quoted as a header."""
    headers: Mapping[str, str] | None = {"ETag": f'"{etag}"'} if etag else None
    return Response(render_json(document), status, headers=headers, media_type=JSON_TYPE)


def done() -> Response:
    """Nothing more to say: 204."""
    return Response(status_code=204)
