"""The webhook against a server of our own: what arrives, and that nothing it does stops a rollout."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from edgeferry.adapters.webhook import Webhook
from edgeferry.errors import UsageError

HELD = {"event": "held", "rollout": "taxi-v1-1", "reason": "quiet"}


class Chat(BaseHTTPRequestHandler):
    """Keeps what it is told."""

    told: list[dict[str, str]]
    status = 204

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append(json.loads(body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *said: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def chat() -> Iterator[tuple[type[Chat], str]]:
    handler = type("Told", (Chat,), {"told": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}/secret"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_document_arrives_as_json(chat: tuple[type[Chat], str]) -> None:
    handler, url = chat
    said: list[str] = []
    Webhook(url, said.append).send(HELD)
    assert (handler.told, said) == ([HELD], [])


def test_a_refusal_is_said_without_the_address(chat: tuple[type[Chat], str]) -> None:
    handler, url = chat
    handler.status = 500
    said: list[str] = []
    Webhook(url, said.append).send(HELD)
    assert said == ["the webhook was not told that taxi-v1-1 is held: it answered 500"]


def test_nobody_there_is_said_and_stops_nothing() -> None:
    said: list[str] = []
    Webhook("http://127.0.0.1:9/secret", said.append).send(HELD)
    assert said == ["the webhook was not told that taxi-v1-1 is held: ConnectError"]


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(UsageError, match=r"rollout\.webhook"):
        Webhook("chat.example", print)
