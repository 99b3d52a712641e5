"""A server on a loop in a thread of this process, and a client that says byte by byte what it wants."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop


class RunningLoop:
    """A loop in a thread, until `stop`."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call(self, work: Callable[[], Any]) -> Any:
        """What the function returns, called on the loop."""

        async def run() -> Any:
            return work()

        return self.run(run())

    def stop(self) -> None:
        """The thread has ended."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """All of it."""
        self.socket.sendall(data)

    def read(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer; status 0 at the end."""
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return 0, {}, b""
        if not line:
            return 0, {}, b""
        headers = {}
        while (text := self._file.readline().strip()) != b"":
            name, _, value = text.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if head_only else int(headers.get("content-length", 0))
        return int(line.split()[1]), headers, self._file.read(length)

    def close(self) -> None:
        """The connection is closed."""
        self._file.close()
        self.socket.close()


@contextmanager
def open_client(port: int) -> Iterator[Client]:
    """A connection, closed at the end."""
    client = Client(port)
    try:
        yield client
    finally:
        client.close()


def render(body: bytes = b"", *headers: str, start: str = "POST /score HTTP/1.1", told: bool = True) -> bytes:
    """A request; `told`: with the body's length."""
    lines = [start, "Host: x", *headers, *([f"Content-Length: {len(body)}"] if told else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
