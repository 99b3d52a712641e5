import json
import os
import signal
import ssl
import stat
import subprocess
import sys

import httpx
import pytest

from tests.hub.clients import Service
from tests.hubs import RunningHub, free_address


@pytest.fixture
def lone(tmp_path):
    """A hub of this test's own."""
    running = RunningHub(tmp_path, free_address(), 8443, 8883)
    yield running
    running.stop()


def run_hub(state, address) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "edgeferry.hub", "--state", str(state), "--address", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_its_folder_holds_what_clients_need_and_secrets_are_its_owners(lone):
    lone.start()
    connection = json.loads((lone.state / "connection.json").read_text())
    assert connection["hostname"] == f"{lone.address}:8443"
    assert set(connection["policies"]) == {
        "iothubowner",
        "service",
        "device",
        "registryRead",
        "registryReadWrite",
    }
    assert connection["connection_string"].startswith(f"HostName={lone.address}:8443;SharedAccessKeyName=")
    for name in ("connection.json", "ca.key", "server.key", "hub.db"):
        assert stat.S_IMODE((lone.state / name).stat().st_mode) == 0o600, name


def test_a_taken_address_is_one_clear_line_and_exit_3(lone, tmp_path_factory):
    lone.start()
    ended = run_hub(tmp_path_factory.mktemp("second"), lone.address)
    assert ended.returncode == 3
    assert len(ended.stderr.splitlines()) == 1
    assert f"cannot listen on {lone.address}:8443" in ended.stderr


def test_a_taken_state_folder_is_one_clear_line_and_exit_3(lone):
    lone.start()
    ended = run_hub(lone.state, free_address())
    assert ended.returncode == 3
    assert "another hub is using the state folder" in ended.stderr


def test_a_state_folder_that_cannot_be_is_one_clear_line_and_exit_3(tmp_path):
    (tmp_path / "file").write_text("")
    ended = run_hub(tmp_path / "file" / "state", free_address())
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1)
    assert "cannot use the state folder" in ended.stderr


def test_a_database_of_a_newer_version_is_not_touched(lone):
    lone.start()
    lone.stop()
    change = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version = 99')"
    subprocess.run([sys.executable, "-c", change, str(lone.state / "hub.db")], check=True)
    ended = run_hub(lone.state, lone.address)
    assert ended.returncode == 3
    assert "written by a newer edgeferry" in ended.stderr


def test_told_to_stop_it_ends_well_and_logs_no_secret(lone):
    lone.start()
    context = ssl.create_default_context(cafile=str(lone.ca_file))
    with httpx.Client(verify=context, trust_env=False) as http:
        service = Service(lone, http)
        device = service.new_device()
        service.ask("GET", "/devices", token="SharedAccessSignature sr=x&sig=leaked&se=9999999999")
    process = lone.process
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    log = (lone.state / "log").read_text()
    events = [json.loads(line) for line in log.splitlines()]
    assert events[0]["event"] == "serving"
    assert events[-1]["event"] == "stopped"
    keys = [*json.loads((lone.state / "connection.json").read_text())["policies"].values()]
    keys += device["authentication"]["symmetricKey"].values()
    assert not [secret for secret in (*keys, "leaked") if secret in log]


def test_with_other_addresses_it_keeps_its_authority_and_keys(lone):
    lone.start()
    before = {name: (lone.state / name).read_bytes() for name in ("ca.pem", "ca.key", "server.pem")}
    keys = json.loads((lone.state / "connection.json").read_text())["policies"]
    lone.stop()
    moved = RunningHub(lone.state, free_address(), 8443, 8883, also=(free_address(),)).start()
    try:
        assert (lone.state / "ca.pem").read_bytes() == before["ca.pem"]
        assert (lone.state / "ca.key").read_bytes() == before["ca.key"]
        assert (lone.state / "server.pem").read_bytes() != before["server.pem"]
        document = json.loads((lone.state / "connection.json").read_text())
        assert document["policies"] == keys
        assert document["hostname"] == moved.host_name
        context = ssl.create_default_context(cafile=str(moved.ca_file))
        with httpx.Client(verify=context, trust_env=False) as http:
            assert http.get(f"https://{moved.also[0]}:8443/health").status_code == 200
    finally:
        moved.stop()


def test_it_does_not_depend_on_the_environment_of_its_starter(lone, monkeypatch):
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "/nonexistent")
    lone.start()
    assert os.environ["SSL_CERT_FILE"] == "/nonexistent"
