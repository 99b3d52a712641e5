"""A small HTTP server in threads, for askers on the device's own network, of whom there are a few at once."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from edgeferry.wire.serving import render_refusal

MOST_AT_ONCE = 8
ASKER_S = 30
"""How long an asker may be silent, or leave its answer untaken."""
_REFUSE_S = 1.0

Answer = Callable[[str], tuple[int, bytes]]
"""(status, JSON) for the target of a GET."""


def serve_small(answer: Answer, host: str, port: int, name: str) -> ThreadingHTTPServer:
    """A server of these answers, serving; `shutdown` and `server_close` end it."""

    class Asked(BaseHTTPRequestHandler):
        timeout = ASKER_S

        def do_GET(self) -> None:
            status, said = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = _Server((host, port), Asked)
    threading.Thread(target=server.serve_forever, args=(0.1,), name=name, daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)

    def server_bind(self) -> None:
        """As HTTPServer's, without asking DNS for this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # no more threads
                self._room.release()
                raise
            return
        self._refuse(request)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # an asker that went away is no news
            super().handle_error(request, client_address)

    def _refuse(self, request: socket.socket) -> None:
        said = render_refusal("too many ask at once", "ask again in a moment")
        head = f"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: {len(said)}\r\n\r\n"
        with contextlib.suppress(OSError):
            request.settimeout(_REFUSE_S)
            request.sendall(head.encode() + said)
