"""Questions about the whole fleet over REST: queries page by page, statistics."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from starlette.responses import Response

from edgeferry.hub.core import invalid
from edgeferry.hub.queries import Cursor, Queries
from edgeferry.hub.rest.call import JSON_TYPE, Call, ok
from edgeferry.wire.hub import parse_json, render_json

_PAGE_ROWS = 100
_MAX_PAGE_ROWS = 1000


@dataclass(frozen=True)
class QueryHandlers:
    """Answers about the fleet."""

    queries: Queries

    async def query(self, call: Call) -> Response:
        headers = call.request.headers
        text = call.json().get("query")
        if not isinstance(text, str):
            raise invalid("query is missing", "send {'query': 'SELECT …'}")
        rows = _parse_rows(headers.get("x-ms-max-item-count", ""))
        page = self.queries.query(text, _parse_continuation(headers.get("x-ms-continuation", "")), rows)
        response = Response(b"[" + b",".join(page.rows) + b"]", media_type=JSON_TYPE)
        response.headers["x-ms-item-type"] = page.item_type
        if page.next_after is not None:
            response.headers["x-ms-continuation"] = _render_continuation(page.next_after)
        return response

    async def registry_statistics(self, _call: Call) -> Response:
        total, enabled, _ = self.queries.statistics()
        return ok(
            {
                "totalDeviceCount": total,
                "enabledDeviceCount": enabled,
                "disabledDeviceCount": total - enabled,
            }
        )

    async def service_statistics(self, _call: Call) -> Response:
        return ok({"connectedDeviceCount": self.queries.statistics()[2]})


def _parse_rows(text: str) -> int:
    """Rows of a page; what is no number counts as not said."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return _PAGE_ROWS
    return min(max(int(text), 1), _MAX_PAGE_ROWS)


def _render_continuation(after: Cursor) -> str:
    return base64.urlsafe_b64encode(render_json([after.device, after.module, after.left])).decode()


def _parse_continuation(text: str) -> Cursor | None:
    if not text:
        return None
    try:
        device, module, left = parse_json(base64.urlsafe_b64decode(text))
        if isinstance(device, str) and isinstance(module, str) and isinstance(left, int | None):
            return Cursor(device, module, left)
    except (ValueError, TypeError):
        pass
    raise invalid("x-ms-continuation is not one of ours", "send the last page's, or none")
