"""A registry that closes a connection just as it is used is asked once more, where that harms nobody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.adapters.registry_transport import Transport
from edgeferry.errors import RegistryError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Closing:
    """A server whose every connection answers so many requests, and is closed by the next one."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}/v2/"
        self.connections = 0
        self.heard: list[bytes] = []
        threading.Thread(target=self._live, daemon=True).start()

    def _live(self) -> None:
        while True:
            try:
                line, _ = self._door.accept()
            except OSError:
                return
            self.connections += 1
            with line, line.makefile("rb") as lines:
                for _ in range(self._answers):
                    if not self._hear(lines):
                        break
                    line.sendall(ANSWER)
                else:
                    self._hear(lines)

    def _hear(self, lines: Iterator[bytes]) -> bool:
        """One request, with the body that it announces."""
        head: list[bytes] = []
        for text in lines:
            if text == b"\r\n":
                length = next(
                    (int(one.split(b":")[1]) for one in head if one.lower().startswith(b"content-l")), 0
                )
                self.heard.append(head[0].split()[0] + b" " + lines.read(length))  # type: ignore[attr-defined]
                return True
            head.append(text)
        return False

    def close(self) -> None:
        self._door.close()


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Closing, Transport]]:
    server = Closing(request.param)
    transport = Transport("registry", "", lambda _: None, lambda: 0.0, lambda: 0.0)
    yield server, transport
    transport.close()
    server.close()


@pytest.mark.parametrize("opened", [1], indirect=True)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_connection_that_was_just_closing_is_opened_again(
    opened: tuple[Closing, Transport], method: str, tmp_path: Path
) -> None:
    server, transport = opened
    (tmp_path / "body").write_bytes(b"whole")
    body = tmp_path / "body" if method == "POST" else b""
    assert transport.send("GET", server.url).status_code == 200
    length = {"content-length": "5"} if method == "POST" else {}
    assert transport.send(method, server.url, length, body).status_code == 200
    assert server.connections == 2
    said = method.encode() + b" " + (b"whole" if method == "POST" else b"")
    assert server.heard == [b"GET ", said, said], "the second attempt sends the body whole, too"


@pytest.mark.parametrize("opened", [1], indirect=True)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_what_may_have_been_done_already_is_not_done_again(
    opened: tuple[Closing, Transport], method: str
) -> None:
    server, transport = opened
    assert transport.send("GET", server.url).status_code == 200
    with pytest.raises(RegistryError, match="does not answer") as caught:
        transport.send(method, server.url, {}, b"chunk")
    assert caught.value.retryable
    assert len(server.heard) == 2


@pytest.mark.parametrize("opened", [0], indirect=True)
def test_a_registry_that_closes_every_connection_is_asked_twice(opened: tuple[Closing, Transport]) -> None:
    server, transport = opened
    with pytest.raises(RegistryError, match="does not answer"):
        transport.send("GET", server.url)
    assert (server.connections, len(server.heard)) == (2, 2)
