"""HTTP as the service door reads it: uvicorn's, with an end to requests that never come to one."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edgeferry.hub import transfer

HEAD_BYTES = 64 * 1024
"""Most bytes of a request line with its headers, give or take what arrives at once."""
REQUEST_BYTES = 2 * 1024 * 1024
"""Most bytes of a request; larger than a body may be, so that its sender can still be told so."""
IMPORT_S = 600.0
"""How long an import may take to arrive."""
_END_S = 0.5
"""How long a connection that nothing is asked on may take to say goodbye when the hub stops."""


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request grows too large, or is not there whole in time. Waiting for the
    next request of a connection is uvicorn's matter (`timeout_keep_alive`)."""

    request_s = 30.0
    """How long a request may take to arrive, from the connection or from its first byte."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._came, self._limit = 0, HEAD_BYTES
        self._deadline: asyncio.TimerHandle | None = None
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._came += len(data)
        super().data_received(data)
        if self._deadline is not None and self._came > self._limit:
            self._cut_off()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._came, self._limit = 0, HEAD_BYTES
        self._begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._limit = REQUEST_BYTES
        if self.scope["path"] == transfer.PATH:  # who may not import is told so without being read
            self._limit += transfer.MOST_BYTES
            self._begin(IMPORT_S)

    def on_message_complete(self) -> None:
        self._end()
        super().on_message_complete()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(_END_S, self.transport.abort)

    def _begin(self, seconds: float | None = None) -> None:
        self._end()
        self._deadline = self.loop.call_later(seconds or self.request_s, self._cut_off)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut_off(self) -> None:
        self.logger.warning("a request took too long to come, or too many bytes: connection closed")
        self.transport.abort()
