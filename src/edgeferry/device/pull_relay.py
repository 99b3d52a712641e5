"""A relay between the engine and a registry that keeps the pulls under a cap: engines know none.

The engine pulls first from the relay, on loopback and by a name that nobody else can guess; the relay fetches
from the registry, with the login, no faster than it may. Then the engine has every layer, and the pull by
the image's own name moves nothing but the manifest.
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from edgeferry.device.registry_line import RegistryLine

_PREFIX = "edgeferry-relay"
_PATH = re.compile(rf"/v2/{_PREFIX}/([0-9a-f]+)/((?:manifests|blobs)/[\w:.+-]+)")
_THROUGH = re.compile(rf"127\.0\.0\.1:(\d+)/{_PREFIX}/([0-9a-f]+)@sha256:[0-9a-f]+")
_CHUNK = 16 * 1024
_ASKED = ("accept", "range")
_ANSWERED = (
    "content-type",
    "content-length",
    "content-range",
    "accept-ranges",
    "docker-content-digest",
    "retry-after",
)

_log = logging.getLogger(__name__)


class Pace:
    """Bytes no faster than `bytes_per_s`, all who share it together; nothing is saved up in a pause."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Returns once `count` bytes more may be taken."""
        now = time.monotonic()
        with self._lock:
            begins = max(now, self._free_at)
            self._free_at = begins + count / self._bytes_per_s
        time.sleep(max(0.0, begins - now))


@dataclass
class Passage:
    """One image's way through the relay."""

    line: RegistryLine
    reference: str
    """What the engine is told to pull."""
    moved: int = 0
    """Bytes of bodies that went through."""


class Relay:
    """Serves on a free port of loopback from its making until `close`."""

    def __init__(self, bytes_per_s: int) -> None:
        self._pace = Pace(bytes_per_s)
        self._passages: dict[str, Passage] = {}
        self._server = _Server(self._passages, self._pace)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="pull relay", daemon=True).start()

    def close(self) -> None:
        """Nobody is served any more."""
        self._server.shutdown()
        self._server.server_close()

    def open(self, line: RegistryLine, digest: str) -> Passage:
        """A way through the relay to the manifest of that digest."""
        key = secrets.token_hex(16)
        passage = Passage(line, f"127.0.0.1:{self.port}/{_PREFIX}/{key}@{digest}")
        self._passages[key] = passage
        return passage

    def end(self, passage: Passage) -> None:
        """The way is shut."""
        for key, each in list(self._passages.items()):
            if each is passage:
                del self._passages[key]

    def is_open(self, key: str) -> bool:
        """Whether something may come that way."""
        return key in self._passages


def is_left_over(reference: str, relay: Relay | None) -> bool:
    """Whether the reference came through a relay by a way that is shut: of this `relay`, or of one that is
    gone, since its agent was killed."""
    found = _THROUGH.fullmatch(reference)
    if not found:
        return False
    port, key = int(found[1]), found[2]
    if relay is not None and port == relay.port:
        return not relay.is_open(key)
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, passages: dict[str, Passage], pace: Pace) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.passages = passages
        self.pace = pace

    def handle_error(self, request: object, client_address: object) -> None:
        """The engine went away; what it wanted it asks for again."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    _begun = False

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the engine's first attempt is always in TLS."""

    def do_GET(self) -> None:
        """What the registry answers to the same question, at the pace that is allowed."""
        self._begun = False
        if self.path == "/v2/":
            self._answer(200, {}, b"")
            return
        found = _PATH.fullmatch(self.path)
        passage = self.server.passages.get(found[1]) if found else None
        if passage is None or found is None:
            self._answer(404, {}, b"")
            return
        asked = {name: ", ".join(self.headers.get_all(name, ())) for name in _ASKED if name in self.headers}
        try:
            with passage.line.ask(self.command, found[2], asked) as answer:
                self._pass_on(passage, answer)
        except (httpx.HTTPError, OSError) as error:
            _log.info("relay path=%s: %s", found[2], str(error) or type(error).__name__)
            if not self._begun:
                self._answer(502, {}, b"")
            self.close_connection = True

    def do_HEAD(self) -> None:
        """The same without the body."""
        self.do_GET()

    def _pass_on(self, passage: Passage, answer: httpx.Response) -> None:
        headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
        self.close_connection = "content-length" not in headers
        if self.close_connection:
            headers["connection"] = "close"
        self._begin(answer.status_code, headers)
        if self.command == "HEAD":
            return
        for chunk in answer.iter_raw(_CHUNK):
            self.server.pace.take(len(chunk))
            self.wfile.write(chunk)
            passage.moved += len(chunk)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._begin(status, {**headers, "content-length": str(len(body))})
        self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self._begun = True
        self.send_response(status)
        self.send_header("docker-distribution-api-version", "registry/2.0")
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
