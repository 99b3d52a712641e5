"""The companion as IoT Edge starts it: IOTEDGE_* variables, and a workload API that signs. That API is a
stand-in for IoT Edge's, which needs a runtime of its own; hub, MQTT and companion are real."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from edgeferry.device.workload import VARIABLES, Workload, read_place
from edgeferry.errors import HubError
from edgeferry.wire.sas import is_signed_by, parse_sas
from tests.device.conftest import end, free_port, wait_until

KEY = base64.b64encode(b"k" * 32).decode()


@dataclass
class Stub:
    """A workload API on a socket: what it was asked, and what it answers (`status` 0: nothing)."""

    path: Path
    key: str = KEY
    certificate: str = "PEM"
    status: int = 200
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[Stub]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(None, {"certificate": stub.certificate})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                secret = base64.b64decode(stub.key)
                digest = hmac.new(secret, base64.b64decode(body["data"]), hashlib.sha256).digest()
                self.answer(body, {"digest": base64.b64encode(digest).decode()})

            def answer(self, body: Any, said: Any) -> None:
                stub.asked.append((self.command, self.path, body))
                if not stub.status:
                    return
                self.send_response(stub.status)
                self.end_headers()
                self.wfile.write(json.dumps(said if stub.status == 200 else {"message": "no"}).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with socketserver.ThreadingUnixStreamServer(str(self.path), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def environment(
    path: Path, hub: str = "hub.example", device: str = "d", module: str = "m", gateway: str = "g"
):
    values = (hub, device, module, gateway, "gen/1", f"unix://{path}", "2019-01-30")
    return dict(zip(VARIABLES, values, strict=True))


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    with Stub(tmp_path / "w.sock").serving() as serving:
        yield serving


def test_a_signature_is_the_one_that_the_modules_key_would_make(stub: Stub) -> None:
    place = read_place(environment(stub.path, module="a$b"))
    assert place is not None
    text = Workload(place).sign(place.connection, "hub.example/devices/d/modules/a$b", 1_800_000_000)
    sas = parse_sas(text)
    assert is_signed_by(sas, KEY)
    assert (sas.resource, sas.expires_at) == ("hub.example/devices/d/modules/a$b", 1_800_000_000)
    [(method, path, body)] = stub.asked
    assert (method, path) == ("POST", "/modules/a%24b/genid/gen%2F1/sign?api-version=2019-01-30")
    assert (body["keyId"], body["algo"]) == ("primary", "HMACSHA256")


def test_the_trust_bundle_is_what_the_api_says(stub: Stub) -> None:
    place = read_place(environment(stub.path))
    assert place is not None
    assert Workload(place).fetch_trust_bundle() == "PEM"
    assert stub.asked == [("GET", "/trust-bundle?api-version=2019-01-30", None)]


@pytest.mark.parametrize("status", [500, 404, 0])
def test_an_api_that_gives_nothing_is_tried_again(stub: Stub, status: int) -> None:
    stub.status = status
    place = read_place(environment(stub.path))
    assert place is not None
    with pytest.raises(HubError) as caught:
        Workload(place).fetch_trust_bundle()
    assert caught.value.retryable


def test_an_api_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    place = read_place(environment(tmp_path / "none.sock"))
    assert place is not None
    with pytest.raises(HubError, match="workload API"):
        Workload(place).fetch_trust_bundle()


@pytest.mark.parametrize("missing", VARIABLES)
def test_without_all_variables_this_is_no_iot_edge(missing: str, tmp_path: Path) -> None:
    assert read_place({k: v for k, v in environment(tmp_path).items() if k != missing}) is None


@pytest.mark.parametrize(("key_is_right"), [True, False])
def test_the_companion_reaches_the_hub_with_signatures_of_iot_edge(
    hub, device, tmp_path, key_is_right
) -> None:
    connection = hub.create_module(device, "companion")
    stub = Stub(tmp_path / "w.sock", certificate=hub.ca_file.read_text())
    stub.key = connection.key if key_is_right else KEY
    given = environment(stub.path, connection.host_name, device, "companion", connection.gateway_host_name)
    port = free_port()
    program = [sys.executable, "-m", "edgeferry.device.modules.companion"]
    with stub.serving():
        process = subprocess.Popen(
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **given, "TMPDIR": str(tmp_path)},
            stderr=subprocess.PIPE,
        )
        try:
            hub.patch_desired(device, "companion", {"models": {"taxi": {"url": "http://127.0.0.1:1"}}})
            if key_is_right:
                wait_until(lambda: "taxi" in hub.reported(device, "companion").get("verdicts", {}))
            else:
                wait_until(lambda: sum(method == "POST" for method, _, _ in stub.asked) >= 2)
                assert hub.twin(device, "companion")["connectionState"] == "Disconnected"
        finally:
            assert end(process) == 0


def test_the_companion_without_any_hub_says_what_it_lacks() -> None:
    known = (*VARIABLES, "EdgeHubConnectionString")
    ended = subprocess.run(
        [sys.executable, "-m", "edgeferry.device.modules.companion"],
        env={name: text for name, text in os.environ.items() if name not in known},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "IOTEDGE_WORKLOADURI" in ended.stderr
