"""A proxy that takes every HTTPS connection for itself: Azure's host names, our certificate."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from edgeferry.authority import open_authority


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    host: str
    path: str
    """Percent-decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")

    def __str__(self) -> str:
        return f"{self.method} {self.host}{self.path}"


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Proxy:
    """Answers what is asked of `hosts` with `answer`, and refuses connections to all others."""

    def __init__(self, folder: Path, hosts: list[str], answer: Callable[[Request], Answer]) -> None:
        authority = open_authority(folder / "authority")
        certificate, key = authority.issue(folder, "azure", hosts, [])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.ca_file = authority.ca_file
        self.refused_hosts: list[str] = []
        proxy = self

        class Inner(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                split = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                query = {k: v[0] for k, v in parse_qs(split.query, keep_blank_values=True).items()}
                request = Request(
                    self.command,
                    self.headers["Host"].split(":")[0],
                    unquote(split.path),
                    query,
                    dict(self.headers.items()),
                    self.rfile.read(length),
                )
                reply = answer(request)
                content = reply.content()
                self.send_response(reply.status)
                headers = {"Content-Type": "application/json", **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_PATCH = do_HEAD = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Outer(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                host = self.path.split(":")[0]
                if host not in hosts:
                    proxy.refused_hosts.append(host)
                    self.send_error(502, f"{host} is not Azure")
                    return
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                try:
                    with context.wrap_socket(self.connection, server_side=True) as secure:
                        Inner(secure, self.client_address, self.server)
                except (ssl.SSLError, ConnectionError):
                    pass
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a client that was killed is no news
                pass

        self._server = Server(("127.0.0.1", 0), Outer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
