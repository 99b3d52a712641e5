"""The workload API that the agent serves, asked over its sockets; the hub behind it is real."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from edgeferry.device.module_keys import (
    AGAIN_S,
    ASK_EVERY_S,
    CONFIRMED_S,
    SILENT_S,
    KeyTimes,
    is_in_doubt,
)
from edgeferry.device.trust import read_trust_bundle
from edgeferry.device.workload_api import WorkloadApi
from edgeferry.device.workload_door import MOST_AT_ONCE, MOST_BODY_BYTES
from edgeferry.errors import OutsideError
from tests.device.conftest import wait_until
from tests.device.workloads import enrol, open_api
from tests.hubs import RunningHub
from tests.needs import lack

VERSION = "2020-07-07"
ASKED_S = 30.0
"""So long an answer is waited for."""
Said = tuple[int, Any]


class Unix(http.client.HTTPConnection):
    """HTTP over the unix socket at `path`, however long that is."""

    def __init__(self, path: Path, timeout: float = ASKED_S) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        folder = os.open(self.path.parent, os.O_PATH)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)


def ask(path: Path, method: str, address: str, body: Any = None, version: str = VERSION) -> Said:
    """Status and document that the socket answers."""
    with contextlib.closing(Unix(path)) as connection:
        text = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, f"{address}?api-version={version}", text)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.read())


def key_at(hub: RunningHub, device: str, module: str = "taxi") -> str:
    said = hub.ask("GET", f"/devices/{device}/modules/{module}")
    return str(said["authentication"]["symmetricKey"]["primaryKey"])


def rotate(hub: RunningHub, device: str, module: str = "taxi") -> str:
    """The module's new key at the hub."""
    old = key_at(hub, device, module)
    wanted = {"policyKey": "both", "devices": [{"id": device, "moduleId": module}]}
    hub.ask("POST", "/devices/keys/regenerate", wanted)
    key = key_at(hub, device, module)
    assert key != old
    return key


def sign(path: Path, module: str = "taxi", data: bytes = b"data") -> Said:
    body = {"keyId": "primary", "algo": "HMACSHA256", "data": base64.b64encode(data).decode()}
    return ask(path, "POST", f"/modules/{module}/genid/1/sign", body)


def signed(key: str, data: bytes = b"data") -> Said:
    """What the API answers where that key signs."""
    digest = hmac.new(base64.b64decode(key), data, hashlib.sha256).digest()
    return 200, {"digest": base64.b64encode(digest).decode()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def api(hub, device, folder):
    api = open_api(hub, device, folder)
    yield api
    api.stop()


@pytest.fixture
def taxi(api) -> Path:
    """The socket of module taxi."""
    return api.open("taxi") / "workload.sock"


# what it answers


def test_it_signs_with_the_modules_key_at_the_hub_which_makes_the_identity(hub, device, taxi):
    said = sign(taxi)
    assert said == signed(key_at(hub, device))


def test_the_identity_is_made_before_the_module_asks(hub, device, api):
    api.open("boat")
    names = lambda: [each["moduleId"] for each in hub.ask("GET", f"/devices/{device}/modules")]  # noqa: E731
    wait_until(lambda: "boat" in names())


def test_the_trust_bundle_is_the_hubs_authority(hub, taxi):
    status, said = ask(taxi, "GET", "/trust-bundle")
    assert (status, said["certificate"].strip()) == (200, hub.ca_file.read_text().strip())


def test_a_hub_without_an_authority_of_its_own_is_trusted_by_the_systems():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=read_trust_bundle(None))
    assert context.cert_store_stats()["x509_ca"] > 10


def test_an_authority_that_is_not_there_is_told(api, tmp_path):
    with pytest.raises(OutsideError, match=r"gone\.pem"):
        read_trust_bundle(tmp_path / "gone.pem")


def test_the_modules_are_listed(api, taxi):
    api.open("boat")
    status, said = ask(taxi, "GET", "/modules")
    assert (status, [each["id"] for each in said["modules"]]) == (200, ["boat", "taxi"])


def test_what_is_encrypted_for_a_module_is_decrypted_for_it_alone(api, taxi):
    boat = api.open("boat") / "workload.sock"
    vector = base64.b64encode(b"vector").decode()
    plain = {"plaintext": base64.b64encode(b"secret").decode(), "initializationVector": vector}
    status, said = ask(taxi, "POST", "/modules/taxi/genid/1/encrypt", plain)
    sealed = {**said, "initializationVector": vector}
    assert status == 200
    assert b"secret" not in base64.b64decode(said["ciphertext"])
    assert ask(taxi, "POST", "/modules/taxi/genid/1/decrypt", sealed) == (
        200,
        {"plaintext": plain["plaintext"]},
    )
    others = (
        ask(boat, "POST", "/modules/boat/genid/1/decrypt", sealed),
        ask(taxi, "POST", "/modules/taxi/genid/2/decrypt", sealed),
        ask(taxi, "POST", "/modules/taxi/genid/1/decrypt", {**sealed, "initializationVector": ""}),
        ask(taxi, "POST", "/modules/taxi/genid/1/decrypt", {**sealed, "ciphertext": "AAAA"}),
    )
    assert [status for status, _ in others] == [400] * 4


def test_a_server_certificate_is_for_the_modules_own_name_and_is_trusted(taxi):
    path = "/modules/taxi/genid/1/certificate/server"
    status, said = ask(taxi, "POST", path, {"commonName": "taxi", "expiration": "2030-01-01T00:00:00Z"})
    assert status == 201
    assert said["privateKey"]["bytes"].startswith("-----BEGIN PRIVATE KEY-----")
    leaf, issuer = x509.load_pem_x509_certificates(said["certificate"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["taxi"]
    assert said["expiration"] == leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    leaf.verify_directly_issued_by(issuer)
    bundle = ask(taxi, "GET", "/trust-bundle")[1]["certificate"]
    assert issuer in x509.load_pem_x509_certificates(bundle.encode())
    status, said = ask(taxi, "POST", path, {"commonName": "edgeferry-hub"})
    assert status == 403
    assert "its own name" in said["message"]


@pytest.mark.parametrize("what", ["sign", "encrypt", "decrypt", "certificate/server"])
def test_a_module_cannot_act_for_another(taxi, what):
    status, said = ask(taxi, "POST", f"/modules/boat/genid/1/{what}", {"data": "AAAA"})
    assert status == 403
    assert "cannot act for boat" in said["message"]


SIGN = "/modules/taxi/genid/1/sign"


@pytest.mark.parametrize(
    ("method", "path", "body", "version", "status", "why"),
    [
        pytest.param("POST", SIGN, b"{", VERSION, 400, "cannot be read", id="no JSON"),
        pytest.param("POST", SIGN, b"\xff", VERSION, 400, "cannot be read", id="no text"),
        pytest.param("POST", SIGN, [1], VERSION, 400, "no object", id="no object"),
        pytest.param("POST", SIGN, {}, VERSION, 400, "data is missing", id="no data"),
        pytest.param("POST", SIGN, {"data": "a"}, VERSION, 400, "data is not base64", id="no base64"),
        pytest.param("POST", SIGN, {"data": 7}, VERSION, 400, "data is not base64", id="a number"),
        pytest.param("POST", SIGN, {"data": "", "algo": "MD5"}, VERSION, 400, "'MD5'", id="algorithm"),
        pytest.param("GET", SIGN, None, VERSION, 404, "no GET", id="method"),
        pytest.param("GET", "/other", None, VERSION, 404, "no GET /other", id="path"),
        pytest.param("PUT", SIGN, {}, VERSION, 501, "Unsupported", id="unknown method"),
        pytest.param("GET", "/trust-bundle", None, "2018-06-27", 400, "api-version", id="older version"),
        pytest.param("GET", "/trust-bundle", None, "2020-07-08", 400, "api-version", id="newer version"),
        pytest.param("GET", "/trust-bundle", None, "", 400, "api-version", id="no version"),
        pytest.param("POST", SIGN, b" " * (MOST_BODY_BYTES * 7 // 2), VERSION, 413, "65536", id="too long"),
    ],
)
def test_what_cannot_be_answered_is_told_in_the_apis_form(taxi, method, path, body, version, status, why):
    said, document = ask(taxi, method, path, body, version)
    assert said == status
    assert why in document["message"]


@pytest.mark.parametrize("version", ["2018-06-28", "2019-01-30", "2020-07-07"])
def test_each_version_of_the_api_is_taken(taxi, version):
    assert ask(taxi, "GET", "/trust-bundle", version=version)[0] == 200


def test_a_body_without_a_length_is_refused(taxi):
    with contextlib.closing(Unix(taxi)) as connection:
        connection.request("POST", f"{SIGN}?api-version={VERSION}", iter([b"{}"]))
        assert connection.getresponse().status == 411


# who reaches it


def test_any_user_in_the_container_may_sign_and_other_users_of_the_device_reach_nothing(api, taxi):
    assert stat.S_IMODE(taxi.stat().st_mode) == 0o666
    assert stat.S_IMODE(taxi.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(api.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((api.folder / "secret.key").stat().st_mode) == 0o600


def test_a_user_who_is_not_root_signs_through_the_folder_that_a_container_mounts(hub, device, taxi):
    """The folder is entered by its descriptor, as a mount is: what lies above it is not passed."""
    if os.geteuid() != 0:
        lack("only root can become another user")
    program = (
        "import os, socket, sys\n"
        "os.fchdir(int(sys.argv[1])); os.setgroups([]); os.setgid(65532); os.setuid(65532)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect('workload.sock')\n"
        f"s.sendall(b'GET /trust-bundle?api-version={VERSION} HTTP/1.1\\r\\n\\r\\n')\n"
        "print(s.makefile('rb').read(12).decode())\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[2])\n"
        "except PermissionError: print('closed')\n"
    )
    descriptor = os.open(taxi.parent, os.O_RDONLY)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(descriptor), str(taxi)],
            pass_fds=[descriptor],
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        os.close(descriptor)
    assert done.stdout.splitlines() == ["HTTP/1.1 200", "closed"], done.stderr


def test_a_long_state_folder_does_not_matter(hub, device, tmp_path):
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    api = open_api(hub, device, folder)
    try:
        path = api.open("taxi") / "workload.sock"
        assert len(str(path)) > 240
        assert ask(path, "GET", "/trust-bundle")[0] == 200
    finally:
        api.stop()


def test_an_agent_that_starts_again_serves_in_the_same_folder(hub, device, folder):
    first = open_api(hub, device, folder)
    path = first.open("taxi") / "workload.sock"
    before, inode = sign(path), path.parent.stat().st_ino
    first.stop()
    with pytest.raises(ConnectionRefusedError):
        sign(path)
    second = open_api(hub, device, folder)
    second.open_all()
    try:
        assert sign(path) == before
        assert path.parent.stat().st_ino == inode
        assert second.generation == first.generation
    finally:
        second.stop()


def test_a_folder_made_anew_has_another_generation(api, hub, device, tmp_path):
    other = open_api(hub, device, tmp_path / "other")
    assert other.generation != api.generation
    other.stop()


def test_opening_again_changes_nothing_and_a_closed_module_is_gone(api, taxi):
    inode = taxi.stat().st_ino
    assert api.open("taxi") == taxi.parent
    assert taxi.stat().st_ino == inode
    api.close("taxi")
    assert not taxi.parent.exists()
    api.close("taxi")
    api.open("taxi")
    assert ask(taxi, "GET", "/trust-bundle")[0] == 200


# limits


def test_a_slow_module_holds_up_no_other(hub, device, folder):
    api = open_api(hub, device, folder, request_s=2 * ASKED_S)
    slow, other = (api.open(name) / "workload.sock" for name in ("slow", "other"))
    held = [Unix(slow) for _ in range(MOST_AT_ONCE + 2)]
    try:
        for connection in held:
            connection.connect()
            connection.sock.sendall(b"G")
        assert ask(other, "GET", "/trust-bundle")[0] == 200
    finally:
        for connection in held:
            connection.close()
        api.stop()


def test_a_slow_module_is_cut_off(hub, device, folder):
    api = open_api(hub, device, folder, request_s=1.5)
    slow = api.open("slow") / "workload.sock"
    held = [Unix(slow) for _ in range(MOST_AT_ONCE + 2)]
    stop = threading.Event()

    def drip(connection: Unix) -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.1):
                connection.sock.sendall(b"G")

    threads = [threading.Thread(target=drip, args=(connection,)) for connection in held]
    try:
        for connection in held:
            connection.connect()
        for thread in threads:
            thread.start()
        for connection in held:  # each ends at its deadline, the two that waited included
            connection.sock.settimeout(60)
            with contextlib.suppress(ConnectionError):
                assert connection.sock.recv(1) == b""
        assert ask(slow, "GET", "/trust-bundle")[0] == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for connection in held:
            connection.close()
        api.stop()


def test_a_module_has_ten_requests_at_once_and_the_next_waits_for_one_to_end(hub, device, folder):
    api = open_api(hub, device, folder, request_s=60)
    path = api.open("taxi") / "workload.sock"
    held = [Unix(path) for _ in range(MOST_AT_ONCE)]
    said: list[int] = []
    waiting = threading.Thread(target=lambda: said.append(ask(path, "GET", "/trust-bundle")[0]))
    try:
        for connection in held:
            connection.connect()
        waiting.start()
        waiting.join(0.5)
        assert said == []
        held[0].close()
        waiting.join(30)
        assert said == [200]
    finally:
        for connection in held:
            connection.close()
        api.stop()


# which key signs


@pytest.mark.parametrize(
    ("times", "known", "silent_at", "asked"),
    [
        pytest.param(KeyTimes(), False, -1e9, True, id="no key"),
        pytest.param(KeyTimes(), True, -1e9, True, id="a key from disk that was not confirmed yet"),
        pytest.param(KeyTimes(confirmed_at=-CONFIRMED_S / 2), True, -1e9, False, id="confirmed lately"),
        pytest.param(KeyTimes(confirmed_at=-CONFIRMED_S - 1), True, -1e9, True, id="confirmed long ago"),
        pytest.param(
            KeyTimes(confirmed_at=-100, signed_at=-AGAIN_S + 1), True, -1e9, True, id="asks again: refused"
        ),
        pytest.param(KeyTimes(confirmed_at=-100, signed_at=-AGAIN_S), True, -1e9, False, id="asks later"),
        pytest.param(KeyTimes(asked_at=-ASK_EVERY_S + 1), True, -1e9, False, id="asked just now"),
        pytest.param(KeyTimes(), True, -SILENT_S + 1, False, id="the hub is silent"),
        pytest.param(KeyTimes(), True, -SILENT_S, True, id="the hub was silent"),
        pytest.param(KeyTimes(), False, -ASK_EVERY_S, True, id="no key, and the hub was silent"),
    ],
)
def test_when_the_hub_is_asked(times, known, silent_at, asked):
    assert is_in_doubt(times, known=known, silent_at=silent_at, now=0.0) is asked


def test_a_key_changed_at_the_hub_signs_once_the_module_asks_again(hub, device, api, taxi):
    old = sign(taxi)
    key = rotate(hub, device)
    assert old != signed(key)
    wait_until(lambda: sign(taxi) == signed(key), what="the new key signs")


def test_a_key_changed_while_the_agent_was_away_signs_at_once(hub, device, folder):
    first = open_api(hub, device, folder)
    sign(first.open("taxi") / "workload.sock")
    first.stop()
    key = rotate(hub, device)
    second = open_api(hub, device, folder, patience_s=20)
    try:
        assert sign(second.open("taxi") / "workload.sock") == signed(key)
    finally:
        second.stop()


def test_without_its_hub_a_device_signs_with_the_key_on_disk_without_waiting_again(own_hub, folder):
    own_hub.create_device("d")
    first = open_api(own_hub, "d", folder)
    said = sign(first.open("taxi") / "workload.sock")
    first.stop()
    address = (own_hub.address, own_hub.https_port)
    identities = enrol(own_hub, "d", folder)
    own_hub.stop()
    with socket.create_server(address) as silent:  # takes connections and says nothing
        second = WorkloadApi(folder / "workload", identities, lambda: "", patience_s=1.5)
        try:
            path = second.open("taxi") / "workload.sock"
            assert sign(path) == said
            took = []
            for _ in range(5):
                began = time.monotonic()
                assert sign(path) == said
                took.append(time.monotonic() - began)
            assert min(took) < 1.2, took
            assert silent
        finally:
            second.stop()


def test_a_module_without_a_key_is_told_that_the_hub_is_away(own_hub, folder):
    own_hub.create_device("d")
    identities = enrol(own_hub, "d", folder)
    own_hub.stop()
    api = WorkloadApi(folder / "workload", identities, lambda: "")
    try:
        status, said = sign(api.open("taxi") / "workload.sock")
        assert status == 503
        assert "hub" in said["message"]
    finally:
        api.stop()
