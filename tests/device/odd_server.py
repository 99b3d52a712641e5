"""A model server that misbehaves on demand: the small model's answers, and whatever a test makes of them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeferry.domain.smoke import CaseSet, SmokeRequest
from edgeferry.wire.cases import render_cases
from tests.device.conftest import DIGEST

Answered = tuple[int, bytes, dict[str, str]]


class OddServer:
    """What it says; a test changes it while it serves. `score` answers a body, or closes with None."""

    def __init__(self, cases: CaseSet) -> None:
        self.cases = render_cases(cases)
        self.health: dict[str, Any] = {
            "ready": True,
            "model": "taxi",
            "version": "3",
            "digest": DIGEST,
            "model_sha256": "aa",
            "started_at": 1.0,
        }
        self.memory: Iterator[int] | None = None
        self.score: Callable[[bytes], Answered | None] = answer
        self.asked = 0
        self.url = ""

    def request(self, nonce: str = "n1") -> SmokeRequest:
        return SmokeRequest("taxi", self.url, DIGEST, "3", hashlib.sha256(self.cases).hexdigest(), nonce)


def answer(body: bytes) -> Answered:
    """2 * distance + hour + 1 for each row of two; 400 else."""
    rows = json.loads(body)["data"]
    if any(len(row) != 2 for row in rows):
        return 400, b"{}", {}
    return 200, json.dumps([2 * row[0] + row[1] + 1 for row in rows]).encode(), {}


@contextmanager
def serving(cases: CaseSet) -> Iterator[OddServer]:
    odd = OddServer(cases)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def do_GET(self) -> None:
            if self.path == "/metrics" and odd.memory is not None:
                text = f"# TYPE x gauge\nprocess_resident_memory_bytes {float(next(odd.memory))}\n"
                self.say(200, text.encode(), {"Content-Type": "text/plain"})
            elif self.path == "/metrics":
                self.say(404, b"{}", {})
            else:
                self.say(200, odd.cases if self.path == "/cases" else json.dumps(odd.health).encode(), {})

        def do_POST(self) -> None:
            odd.asked += 1
            said = odd.score(self.rfile.read(int(self.headers["Content-Length"])))
            if said is None:
                self.close_connection = True
            else:
                self.say(*said)

        def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
            for name, value in lines.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection |= int(lines["Content-Length"]) > len(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    odd.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield odd
    finally:
        server.shutdown()
        server.server_close()
