"""A server for GET over HTTPS, whose answers a test gives."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgeferry.authority import open_authority

HOST = "127.0.0.1"
Answer = Callable[[str, str], tuple[int, Any]]
"""Status and document for a path and an Authorization header."""


class HttpsStub:
    """Runs until `close`; who trusts `ca_file` trusts it. A 429 comes with a wait of 7 seconds."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        certificate, key = open_authority(folder).issue(folder, "platform", (), (HOST,))
        self.ca_file = str(folder / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer((HOST, 0), _handler(answer))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"https://{HOST}:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(answer: Answer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = answer(self.path, self.headers.get("Authorization", ""))
            body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "7")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
