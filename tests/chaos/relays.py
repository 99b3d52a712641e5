"""What stands between a device and its servers, and can fail: a relay to the hub, one to the registry.

Each is a thread in this process; its knobs are set from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgeferry.wire import mqtt

MOST_BYTES = 8 * 1024 * 1024
Mangle = Callable[[mqtt.Publish], "list[mqtt.Publish]"]


@dataclass
class HubRelay:
    """Device MQTT from `listen` to `target`, decrypted between, so that it can delay packets or change what
    the hub publishes. `server` is the hub's own certificate and key, `ca_file` its authority."""

    listen: tuple[str, int]
    target: tuple[str, int]
    server: tuple[str, str]
    ca_file: str
    refusing: bool = False
    """New connections end at once."""
    frozen: bool = False
    """Nothing passes; connections stay."""
    delay_s: float = 0.0
    """Each way."""
    mangle: Mangle | None = None
    """What to send to the device in the place of a message for it."""
    attempts: list[float] = field(default_factory=list)
    """When connections were opened (monotonic)."""
    _loop: asyncio.AbstractEventLoop | None = None
    _open: set = field(default_factory=set)
    _thread: threading.Thread | None = None
    _ready: threading.Event = field(default_factory=threading.Event)

    def start(self) -> HubRelay:
        """The relay listens."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(20), "the relay does not listen"
        return self

    def stop(self) -> None:
        """The relay has ended."""
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._done.set)
        if self._thread is not None:
            self._thread.join(10)

    def drop(self) -> None:
        """Connections there are end without a word."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in list(self._open)])

    def heal(self) -> None:
        """No fault is left."""
        self.refusing = self.frozen = False
        self.delay_s, self.mangle = 0.0, None

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda *_: None)  # connections that end amid a packet are the point
        self._done = asyncio.Event()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*self.server)
        self._client = ssl.create_default_context(cafile=self.ca_file)
        listening = await asyncio.start_server(self._take, *self.listen, ssl=server)
        self._ready.set()
        await self._done.wait()
        listening.close()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts.append(time.monotonic())
        if self.refusing:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection(
                *self.target, ssl=self._client, server_hostname=self.target[0]
            )
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there[1]}
        self._open |= ends
        ways = [
            asyncio.ensure_future(self._pass_on(reader, there[1], None)),
            asyncio.ensure_future(self._pass_on(there[0], writer, bytearray())),
        ]
        with contextlib.suppress(Exception):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in ends:
            end.transport.abort()
        self._open -= ends

    async def _pass_on(self, reader, writer, buffer: bytearray | None) -> None:
        due: asyncio.Queue = asyncio.Queue()

        async def send() -> None:
            while True:
                at, data = await due.get()
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                while self.frozen:
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()

        sending = asyncio.ensure_future(send())
        try:
            while data := await reader.read(65536):
                if buffer is not None:
                    data = self._rewrite(buffer, data)
                due.put_nowait((time.monotonic() + self.delay_s, data))
        finally:
            sending.cancel()

    def _rewrite(self, buffer: bytearray, data: bytes) -> bytes:
        buffer += data
        out = bytearray()
        while (length := mqtt.packet_length(buffer, MOST_BYTES)) and length <= len(buffer):
            packet = bytes(buffer[:length])
            del buffer[:length]
            mangle = self.mangle
            if mangle is not None and packet[0] >> 4 == 3:
                said = mqtt.parse_packet(packet)
                packet = b"".join(mqtt.render_packet(one) for one in mangle(said))
            out += packet
        return bytes(out)


@dataclass
class RegistryRelay:
    """A registry at `listen` that passes on to the one at `target`, unless told to fail."""

    listen: tuple[str, int]
    target: str
    status: int = 0
    """Every request is answered with this status."""
    blob_fault: str = ""
    """half: the body ends in the middle; wrong: a byte of it is another; manifest: so in manifests."""
    bytes_per_s: int = 0
    requests: list[float] = field(default_factory=list)
    _server: Any = None

    @property
    def address(self) -> str:
        return f"{self.listen[0]}:{self.listen[1]}"

    def start(self) -> RegistryRelay:
        """The relay listens."""
        relay = self

        class Door(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                relay.answer(self)

            def do_HEAD(self) -> None:
                relay.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: Any) -> None:  # an engine that was killed hangs up
                pass

        self._server = Server(self.listen, Door)
        self.listen = self._server.server_address[:2]
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def stop(self) -> None:
        """The relay has ended."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def heal(self) -> None:
        """No fault is left."""
        self.status, self.blob_fault, self.bytes_per_s = 0, "", 0

    def answer(self, door: Any) -> None:
        """One request is answered."""
        self.requests.append(time.monotonic())
        if self.status:
            self._refuse(door)
            return
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.putrequest(door.command, door.path, skip_host=True, skip_accept_encoding=True)
            for key, value in door.headers.items():  # some come several times
                connection.putheader(key, value)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read()
            fields = [(key, value) for key, value in response.getheaders() if key.lower() not in _HOPS]
            self._send(door, response.status, fields, body, int(response.headers.get("Content-Length") or 0))
        finally:
            connection.close()

    def _send(self, door: Any, status: int, fields: list, body: bytes, length: int) -> None:
        fault = self.blob_fault
        is_blob, is_manifest = "/blobs/" in door.path, "/manifests/" in door.path
        if body and ((fault == "wrong" and is_blob) or (fault == "manifest" and is_manifest)):
            at = random.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        sent = body[: len(body) // 2] if fault == "half" and is_blob else body
        door.send_response(status)
        for key, value in fields:
            door.send_header(key, value)
        door.send_header("Content-Length", str(length or len(body)))
        door.end_headers()
        step = max(1, self.bytes_per_s // 10) if self.bytes_per_s else max(1, len(sent))
        for start in range(0, len(sent), step):
            door.wfile.write(sent[start : start + step])
            if self.bytes_per_s:
                time.sleep(0.1)
                step = max(1, self.bytes_per_s // 10) if self.bytes_per_s else step
        if len(sent) < len(body):
            door.close_connection = True

    def _refuse(self, door: Any) -> None:
        codes = {401: "UNAUTHORIZED", 403: "DENIED", 404: "MANIFEST_UNKNOWN", 429: "TOOMANYREQUESTS"}
        code = codes.get(self.status, "UNAVAILABLE")
        body = f'{{"errors":[{{"code":"{code}","message":"told to fail"}}]}}'.encode()
        door.send_response(self.status)
        if self.status == 401:
            door.send_header("WWW-Authenticate", 'Basic realm="told to fail"')
        if self.status in (429, 503):
            door.send_header("Retry-After", "1")
        door.send_header("Content-Type", "application/json")
        door.send_header("Content-Length", str(len(body)))
        door.end_headers()
        if door.command != "HEAD":
            door.wfile.write(body)


_HOPS = ("connection", "content-length", "transfer-encoding", "date", "server")
