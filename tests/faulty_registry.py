"""A registry that fails as it is told: plain HTTP on loopback, images in memory, requests counted."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.engines import TinyImage, digest_of

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Fault:
    """What goes wrong: a status instead of an answer, or a body that is not as it should be."""

    status: int = 0
    retry_after: str = ""
    manifest: str = ""
    """truncated, wrong, or stuck (nothing comes)."""
    layer: str = ""
    """half, stuck (half and then nothing) or wrong."""


HEALTHY = Fault()


@dataclass
class FaultyRegistry:
    """A registry with `fault`, which may be changed at any time; layers come at `bytes_per_s`, if set."""

    fault: Fault = HEALTHY
    bytes_per_s: int = 0
    address: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    """Bytes of blobs."""
    _server: ThreadingHTTPServer | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def start(self) -> FaultyRegistry:
        """It serves."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a pull that was given up
        self.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._server = server
        return self

    def stop(self) -> None:
        """Nobody serves there any more."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def push(self, image: TinyImage, name: str, *more: bytes) -> str:
        """The reference of the image by digest; `more` are further layers (tar), not in its config."""
        layers = (image.layer, *more)
        config = json.loads(image.config)
        config["rootfs"]["diff_ids"] = [digest_of(layer) for layer in layers]
        config_body = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest_of(config_body),
                "size": len(config_body),
            },
            "layers": [
                {"mediaType": _LAYER, "digest": digest_of(layer), "size": len(layer)} for layer in layers
            ],
        }
        body = json.dumps(manifest).encode()
        self.blobs |= {digest_of(blob): blob for blob in (*layers, config_body)}
        self.manifests[digest_of(body)] = body
        return f"{self.address}/{name}@{digest_of(body)}"

    def tag(self, reference: str, tag: str) -> str:
        """The reference of the same image by a tag."""
        name, _, digest = reference.partition("@")
        self.manifests[tag] = self.manifests[digest]
        return f"{name}:{tag}"

    def wait(self, seconds: float) -> None:
        """Nothing happens for so long, or until `stop`."""
        self._closing.wait(seconds)


def _handler(registry: FaultyRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            """What is counted as sent is not far ahead of what was received."""
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
            super().setup()

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            registry.requests.append(self.path)
            fault = registry.fault
            if self.path == "/v2/":
                self.answer(200, b"{}", "application/json")
            elif fault.status:
                self.refuse(fault)
            elif "/manifests/" in self.path:
                self.give_manifest(fault)
            elif (digest := self.path.rpartition("/")[2]) in registry.blobs:
                self.give_blob(registry.blobs[digest], fault)
            else:
                self.refuse(Fault(404))

        def refuse(self, fault: Fault) -> None:
            code = {
                401: "UNAUTHORIZED",
                403: "DENIED",
                404: "MANIFEST_UNKNOWN",
                429: "TOOMANYREQUESTS",
            }.get(fault.status, "UNKNOWN")
            said = {"errors": [{"code": code, "message": code.lower()}]}
            extra = {"retry-after": fault.retry_after} if fault.retry_after else {}
            if fault.status == 401:
                extra["www-authenticate"] = 'Basic realm="test"'
            self.answer(fault.status, json.dumps(said).encode(), "application/json", extra)

        def give_manifest(self, fault: Fault) -> None:
            body = registry.manifests.get(self.path.rpartition("/")[2])
            if body is None:
                self.refuse(Fault(404))
                return
            if fault.manifest == "stuck":
                registry.wait(120)
                self.close_connection = True
                return
            if fault.manifest == "truncated":
                body = body[: len(body) // 2]
            if fault.manifest == "wrong":
                body = body.replace(b'"schemaVersion"', b' "schemaVersion"')
            self.answer(200, body, _MANIFEST, {"docker-content-digest": digest_of(body)})

        def give_blob(self, body: bytes, fault: Fault) -> None:
            is_layer = len(body) > 50_000
            if is_layer and fault.layer == "wrong":
                body = body[:-1] + bytes([body[-1] ^ 1])
            self.begin(200, len(body), "application/octet-stream", {})
            if is_layer and fault.layer in ("half", "stuck"):
                self.send(body[: len(body) // 2])
                if fault.layer == "stuck":
                    registry.wait(120)
                self.close_connection = True
                return
            self.send(body)

        def send(self, body: bytes) -> None:
            size = 16 * 1024
            for at in range(0, len(body), size):
                chunk = body[at : at + size]
                self.wfile.write(chunk)
                registry.sent += len(chunk)
                if registry.bytes_per_s:
                    time.sleep(len(chunk) / registry.bytes_per_s)

        def answer(self, status: int, body: bytes, kind: str, extra: dict[str, str] | None = None) -> None:
            self.begin(status, len(body), kind, extra or {})
            if self.command != "HEAD":
                self.wfile.write(body)

        def begin(self, status: int, size: int, kind: str, extra: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("docker-distribution-api-version", "registry/2.0")
            for name, text in {"content-type": kind, "content-length": str(size), **extra}.items():
                self.send_header(name, text)
            self.end_headers()

    return Handler
