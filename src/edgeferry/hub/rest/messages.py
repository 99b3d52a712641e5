"""`GET /messages/events`: the telemetry that the hub keeps, page by page. Azure has Event Hubs there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from edgeferry.hub.core import invalid
from edgeferry.hub.journal import Journal
from edgeferry.hub.rest.call import Call, ok
from edgeferry.wire.telemetry import render_page

MAX_LIMIT = 1000
MAX_WAIT_S = 60
_LIMIT = 100


@dataclass(frozen=True)
class MessageHandlers:
    """Answers from the journal."""

    journal: Journal

    async def read(self, call: Call) -> Response:
        query = call.request.query_params
        limit = _whole(query, "limit", _LIMIT, 1, MAX_LIMIT)
        wait_s = _whole(query, "wait", 0, 0, MAX_WAIT_S)
        page = await self.journal.read(query.get("after", ""), limit, wait_s, query.get("device", ""))
        return ok(render_page(page))


def _whole(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise invalid(f"{name} is {text[:40]!r}", f"give a whole number from {least} to {most}")
