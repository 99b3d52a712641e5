"""A small HTTP/1.1 server of whole requests and whole answers, on one event loop.

Every request is bounded: in bytes, in headers and in time (`http_request.Limits`); every connection is read
and answered by `http_connection`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate

from edgeferry.device.modules.http_connection import Connection
from edgeferry.device.modules.http_request import Limits, Request


class HttpServer:
    """What all connections share. `handle` gets each request, and sees that it is answered."""

    def __init__(self, handle: Callable[[Request], None], limits: Limits = Limits()) -> None:
        self.handle = handle
        self.limits = limits
        self.connections: set[Connection] = set()
        self.statuses: Counter[int] = Counter()
        """Answers so far, by status."""
        self.held_bytes = 0
        self.is_draining = False
        self.now = 0.0
        """The loop's clock, as of the last look."""
        self.date = b""
        self.good = b""
        """The beginning of most answers."""
        self._loop = asyncio.get_running_loop()
        self._listening: asyncio.Server | None = None
        self._emptied = asyncio.Event()
        self._next_look: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Connections are taken from now on; the port (of `port` 0). OSError when it is not to be had."""
        listening = await self._loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        self._listening = listening
        return int(listening.sockets[0].getsockname()[1])

    async def drain(self) -> None:
        """No more connections are taken; what is under way is answered, for at most `drain_s`."""
        self.is_draining = True
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), self.limits.drain_s)
            except TimeoutError:
                for connection in list(self.connections):
                    connection.abort()
                await asyncio.sleep(0)
        if self._next_look is not None:
            self._next_look.cancel()

    def count_in_flight(self) -> int:
        """Requests that wait for their answers."""
        return sum(connection.count_in_flight() for connection in self.connections)

    def add(self, connection: Connection) -> bool:
        """Whether there is room for one more."""
        if self._next_look is None:
            self._look()
        self.connections.add(connection)
        return len(self.connections) <= self.limits.connections

    def discard(self, connection: Connection) -> None:
        """It is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    def _look(self) -> None:
        """The clocks of all connections are compared with their limits; not while there are none."""
        self.now = self._loop.time()
        self.date = b"Date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
        self.good = b"HTTP/1.1 200 OK\r\n%bContent-Type: application/json\r\nContent-Length: " % self.date
        for connection in list(self.connections):
            connection.look(self.now)
        wanted = bool(self.connections) or self._next_look is None
        self._next_look = self._loop.call_later(self.limits.look_s, self._look) if wanted else None
