"""One module's socket of the workload API: HTTP/1.1, one request a connection.

Each connection has a thread. A module has ten at once and more wait their turn; a request has a deadline and
a greatest size, so that a module which is slow or wrong holds up nobody but itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from edgeferry.device.workload_answers import Answer, refuse

SOCKET = "workload.sock"
MOST_AT_ONCE = 10
MOST_BODY_BYTES = 65_536
_MOST_BYTES = 4 * MOST_BODY_BYTES
"""Of one request, with its head and what is read only to be thrown away."""
REQUEST_S = 10.0
_WAITING = 32

_log = logging.getLogger(__name__)


class Door:
    """A socket that listens in `folder`; `answer` gets method, path with query, and body."""

    def __init__(
        self,
        folder: Path,
        answer: Callable[[str, str, bytes], Answer],
        *,
        request_s: float = REQUEST_S,
    ) -> None:
        self.answer = answer
        self.request_s = request_s
        self._slots = threading.Semaphore(MOST_AT_ONCE)
        self._closed = threading.Event()
        self._listener = _listen(folder)
        self._thread = threading.Thread(target=self._accept, name=f"workload-{folder.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody is let in any more; who is inside gets an answer."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._thread.join(timeout=1)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            self._slots.acquire()
            try:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except (OSError, RuntimeError) as error:  # no descriptor or no thread is free just now
                self._slots.release()
                if not self._closed.wait(0.5):
                    _log.warning("workload connection not served: %s", error)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                _Exchange(connection, "", self)  # type: ignore[arg-type]
        except OSError as error:
            _log.debug("workload connection ended: %s", error)
        finally:
            self._slots.release()


class _Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: Door  # type: ignore[assignment]

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Reader(self.connection, self.server.request_s))

    def do_GET(self) -> None:
        self._reply(self.server.answer("GET", self.path, b""))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._reply(refuse(411, "a Content-Length is needed"))
        elif len(length) > 9 or int(length) > MOST_BODY_BYTES:
            self._reply(refuse(413, f"the body has more than {MOST_BODY_BYTES} bytes"))
            self.rfile.read(int(length))  # unread, it would cost the client our answer
        else:
            self._reply(self.server.answer("POST", self.path, self.rfile.read(int(length))))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._reply(refuse(code, message or "the request cannot be read"))

    def _reply(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        self.connection.settimeout(self.server.request_s)
        self.close_connection = True
        self.send_response(answer.status)
        for name, text in (("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            self.send_header(name, text)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "edgeferry"

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


class _Reader(io.RawIOBase):
    """What a connection says until its deadline, up to the greatest size."""

    def __init__(self, connection: socket.socket, patience_s: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + patience_s
        self._left = _MOST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request took too long")
        if self._left <= 0:
            raise ConnectionAbortedError("the request is too long")
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count


def _listen(folder: Path) -> socket.socket:
    """The socket, named by a descriptor of its folder, since the name of a socket has 107 bytes at most; any
    user may write to it, and it replaces an older one in one step."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        here = f"/proc/self/fd/{descriptor}"
        draft = f"{here}/{SOCKET}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        listener.bind(draft)
        os.chmod(draft, 0o666)
        listener.listen(_WAITING)
        os.replace(draft, f"{here}/{SOCKET}")
    except OSError:
        listener.close()
        raise
    finally:
        os.close(descriptor)
    return listener
