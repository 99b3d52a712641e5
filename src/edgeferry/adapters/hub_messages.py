"""What devices said, from our own hub: `GET /messages/events`, see `docs/differences.md`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from edgeferry.domain.message import MessagePage
from edgeferry.errors import HubError
from edgeferry.wire.telemetry import parse_page

_MAX_WAIT_S = 60


class Getter(Protocol):
    """The hub, asked for a document."""

    def get(self, path: str, query: Mapping[str, str], timeout_s: float) -> Any: ...


class HubMessages:
    """Implements the `Messages` port."""

    def __init__(self, hub: Getter) -> None:
        self._hub = hub

    def read(self, after: str = "", limit: int = 100, wait_s: float = 0, device: str = "") -> MessagePage:
        """One page; HubError when the hub refuses, or answers what is no page."""
        whole_s = min(math.ceil(wait_s), _MAX_WAIT_S)
        query = {"after": after, "limit": str(limit), "wait": str(whole_s), "device": device}
        document = self._hub.get("/messages/events", query, whole_s + 30)
        try:
            return parse_page(document)
        except ValueError as error:
            raise HubError(
                f"the hub answered /messages/events with {error}", fix="is it a hub of this edgeferry?"
            ) from error
