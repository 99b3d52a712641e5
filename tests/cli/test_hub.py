"""`edgeferry hub …`: the real command, its real hub, in folders of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from edgeferry.errors import UsageError
from edgeferry.hub.server import owning
from edgeferry.sandbox.process import Process
from edgeferry.settings import hub_runs, load_settings
from tests.cli.shell import Shell
from tests.hubs import free_address
from tests.needs import lack

ROOT = Path(__file__).parents[2]


def get(shell: Shell, url: str) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(shell.hub / "ca.pem"))
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.get(url)


def may_bind_443() -> bool:
    try:
        with socket.create_server((free_address(), 443)):
            return True
    except PermissionError:
        return False


def test_start_works_without_a_project_and_twice_is_once(shell: Shell) -> None:
    first = shell.start()
    assert (first["started"], first["ready"], first["folder"]) == (True, True, str(shell.hub))
    again = shell.start()
    assert (again["started"], again["process"]) == (False, first["process"])
    assert json.loads(shell.done("hub", "status", "-o", "json"))["started_by"] == "edgeferry hub start"
    assert get(shell, f"https://{shell.address}:8443/health").json()["ready"] is True
    same = ["hub", "start", "--address", shell.address]
    for arguments, said in ((["hub", "start"], False), (same, False), ([*same, "--limits", "off"], True)):
        assert ("goes on as it was started" in shell.run(*arguments).stderr) is said
    shell.done("hub", "stop")
    assert not hub_runs(shell.hub)
    stopped = shell.run("hub", "status", "-o", "json")
    assert (stopped.returncode, json.loads(stopped.stdout)["state"]) == (1, "stopped")
    shell.done("hub", "stop")


def test_two_starts_at_once_make_one_hub(shell: Shell) -> None:
    command = [sys.executable, "-m", "edgeferry", "hub", "start", "--address", shell.address, "-o", "json"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=shell.environment, cwd=shell.where)
        for _ in range(2)
    ]
    said = [json.loads(each.communicate(timeout=60)[0]) for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert sorted(each["started"] for each in said) == [False, True]
    assert len({each["process"] for each in said}) == 1


def test_port_443_makes_the_connection_string_plain(shell: Shell) -> None:
    facts = shell.start("--port-443", "off")
    assert facts["host_name"] == f"{shell.address}:8443"
    assert facts["gateway_host_name"] == shell.address
    text = shell.done("hub", "connection-string").strip()
    assert text.startswith(f"HostName={shell.address}:8443;SharedAccessKeyName=iothubowner;SharedAccessKey=")
    shell.done("hub", "stop")
    facts = shell.start("--port-443", "auto")
    if may_bind_443():
        assert (facts["host_name"], facts["gateway_host_name"]) == (shell.address, "")
        assert shell.done("hub", "connection-string").strip() == text.replace(":8443", "")
        assert get(shell, f"https://{shell.address}/health").status_code == 200
    else:
        assert facts["host_name"] == f"{shell.address}:8443"


def test_where_443_is_taken_auto_does_without_and_required_does_not(shell: Shell) -> None:
    if not may_bind_443():
        lack("only root may take port 443 away")
    with socket.create_server((shell.address, 443)):
        refused = shell.run("hub", "start", "--address", shell.address, "--port-443", "required")
        assert refused.returncode == 3
        assert f"cannot listen on {shell.address}:443" in refused.stderr
        assert shell.start()["host_name"] == f"{shell.address}:8443"


def test_a_taken_port_is_told_with_its_holder_and_nothing_is_left_running(shell: Shell) -> None:
    with socket.create_server((shell.address, 8883)):
        refused = shell.run("hub", "start", "--address", shell.address)
    assert refused.returncode == 3
    assert f"cannot listen on {shell.address}:8883" in refused.stderr
    assert f"(process {os.getpid()})" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not hub_runs(shell.hub)
    assert shell.start()["started"] is True


def test_interrupted_while_it_starts_nothing_is_left_running(shell: Shell) -> None:
    command = [sys.executable, "-m", "edgeferry", "hub", "start", "--address", shell.address]
    starting = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environment, cwd=shell.where
    )
    process = Process(shell.hub, "hub")
    deadline = time.monotonic() + 60
    while not process.is_running() and time.monotonic() < deadline:
        time.sleep(0.002)
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=60)
    if starting.returncode != 0:  # else it had started already
        assert starting.returncode == 130
        assert not hub_runs(shell.hub)
    assert process.is_running() is (starting.returncode == 0)


def test_restart_keeps_how_it_was_started(shell: Shell) -> None:
    options = ("--port-443", "off", "--mqtt-port", "18883", "--limits", "off", "--messages-count", "7")
    before = shell.start(*options)
    assert before["gateway_host_name"] == f"{shell.address}:18883"
    after = json.loads(shell.done("hub", "restart", "-o", "json"))
    assert after["process"] != before["process"]
    assert (after["mqtt"], after["https"]) == (before["mqtt"], before["https"])
    assert "--messages-count=7" in Path(f"/proc/{after['process']}/cmdline").read_text().split("\0")
    serving = [json.loads(line) for line in shell.done("hub", "logs").splitlines()]
    assert [each["limits"] for each in serving if each["event"] == "serving"] == ["off", "off"]
    refused = shell.run("hub", "restart", "--state", str(shell.home / "never"))
    assert (refused.returncode, "edgeferry hub start" in refused.stderr) == (2, True)


def test_a_start_after_a_stop_listens_as_before_unless_it_is_told(shell: Shell) -> None:
    first = shell.start("--port-443", "off", "--https-port", "8445")
    shell.done("hub", "stop")
    before = shell.done("hub", "connection-string")
    again = json.loads(shell.done("hub", "start", "--log-level", "warning", "-o", "json"))
    assert again["https"] == first["https"] == [f"{shell.address}:8445"]
    assert shell.done("hub", "connection-string") == before
    shell.done("hub", "stop")
    assert json.loads(shell.done("hub", "restart", "-o", "json"))["https"] == first["https"]
    shell.done("hub", "stop")
    assert shell.start("--port-443", "off")["https"] == [f"{shell.address}:8443"]


def test_a_hub_that_was_killed_is_said_to_have_ended(shell: Shell) -> None:
    shell.start()
    os.kill(json.loads(shell.done("hub", "status", "-o", "json"))["process"], signal.SIGKILL)
    said = shell.run("devices", "list")
    assert said.returncode == 2
    assert f"the hub of {shell.hub} does not run" in said.stderr
    assert "edgeferry hub start" in said.stderr


def test_a_devices_connection_string_is_not_a_services(shell: Shell) -> None:
    shell.start()
    shell.done("devices", "create", "d1")
    text = shell.done("devices", "connection-string", "d1").strip()
    said = shell.run("devices", "list", EDGEFERRY_HUB__CONNECTION_STRING=text)
    assert said.returncode == 2
    assert "is the device d1's" in said.stderr


def test_in_the_foreground_it_ends_with_its_terminal(shell: Shell) -> None:
    command = [sys.executable, "-m", "edgeferry", "hub", "start", "--foreground", "--address", shell.address]
    command += ["--port-443", "off"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, env=shell.environment, cwd=shell.where)
    try:
        assert running.stderr is not None
        assert json.loads(running.stderr.readline())["event"] == "serving"
        status = json.loads(shell.done("hub", "status", "-o", "json"))
        assert (status["ready"], status["started_by"]) == (True, "somebody else")
        node = json.loads(shell.done("hub", "connection-string", "--node", "-o", "json"))
        assert "hub.port" in Path(node["node_options"].removeprefix("--require ")).read_text()
        refused = shell.run("hub", "stop")
        assert (refused.returncode, "end it where it was started" in refused.stderr) == (2, True)
        assert shell.start()["started"] is False
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert running.returncode == 0


def test_a_hub_that_is_only_starting_is_said_to_run_and_not_to_be_ready(shell: Shell) -> None:
    with owning(shell.hub):
        said = shell.run("hub", "status")
    words = [line.split() for line in said.stdout.splitlines()]
    assert said.returncode == 1, said.stderr
    assert ["state", "running"] in words
    assert ["ready", "no"] in words


def test_names_stand_in_the_certificate(shell: Shell) -> None:
    facts = shell.start("--name", "hub.example.test", "--name", "10.9.8.7", "--port-443", "off")
    assert facts["host_name"] == "hub.example.test:8443"
    context = ssl.create_default_context(cafile=str(shell.hub / "ca.pem"))
    for name in ("hub.example.test", "10.9.8.7", "localhost", "edgeferry-hub", "host.docker.internal"):
        with (
            socket.create_connection((shell.address, 8443), 10) as plain,
            context.wrap_socket(plain, server_hostname=name),
        ):
            pass
    with (
        socket.create_connection((shell.address, 8443), 10) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname="other.example.test")


def test_what_is_secret_is_its_owners(shell: Shell) -> None:
    shell.start()
    assert stat.S_IMODE(shell.hub.stat().st_mode) == 0o700
    log = shell.done("hub", "logs")
    key = (
        shell.done("hub", "connection-string", "--policy", "service")
        .strip()
        .rpartition("SharedAccessKey=")[2]
    )
    assert key
    assert key not in log
    assert key not in shell.done("hub", "status", "-o", "json")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param(["hub", "connection-string"], "no hub was ever started", id="never started"),
        pytest.param(["hub", "start", "--address", "localhost"], "not an IPv4 address", id="no address"),
        pytest.param(["hub", "start", "--mqtt-port", "8443"], "both have port 8443", id="one port twice"),
        pytest.param(["hub", "start", "--state", "/dev/null"], "cannot be a hub's folder", id="no folder"),
        pytest.param(["hub", "import", "/dev/null", "--state", "/dev/null"], "hub's folder", id="nor here"),
        pytest.param(["hub", "logs"], "there is no", id="no log"),
        pytest.param(["devices", "list"], "hub.connection_string is not set", id="no hub and no project"),
    ],
)
def test_what_cannot_be_is_two_lines(shell: Shell, arguments: list[str], problem: str) -> None:
    refused = shell.run(*arguments)
    assert refused.returncode == 2
    assert problem in refused.stderr
    assert "fix:" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["hub", "start", "--state", "edgeferry.toml"], 2, id="start in a file"),
        pytest.param(
            ["hub", "start", "--foreground", "--state", "edgeferry.toml"], 2, id="foreground in a file"
        ),
        pytest.param(["hub", "import", "-", "--state", "edgeferry.toml"], 2, id="import into a file"),
        pytest.param(["hub", "export", "."], 2, id="export to a folder"),
        pytest.param(["hub", "export", "pipe"], 2, id="export to a pipe"),
        pytest.param(["hub", "restart", "--state", "old"], 2, id="restart by an older record"),
    ],
)
def test_a_place_that_is_none_is_two_lines(shell: Shell, arguments: list[str], code: int) -> None:
    (shell.where / "edgeferry.toml").touch()
    os.mkfifo(shell.where / "pipe")
    (shell.where / "old" / "run").mkdir(parents=True)
    (shell.where / "old" / "run" / "hub.json").write_text('{"pid": 1, "started": "long ago"}')
    refused = shell.run(*arguments)
    assert (refused.returncode, "Traceback" in refused.stderr) == (code, False), refused.stderr
    assert (shell.where / "pipe").is_fifo()


def test_settings_find_the_hub_that_runs_and_explicit_ones_win(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(shell.home))
    monkeypatch.chdir(shell.where)
    assert load_settings(need_project=False)["hub.connection_string"] == ""
    shell.start()
    found = load_settings(need_project=False)
    assert found.values["hub.connection_string"].source == "this machine (edgeferry hub start)"
    assert found["hub.connection_string"] == shell.done("hub", "connection-string").strip()
    assert found["hub.ca_file"] == shell.done("hub", "ca-file").strip()
    with pytest.raises(UsageError, match=r"edgeferry\.toml"):
        load_settings()
    (shell.where / "edgeferry.toml").touch()
    inside = load_settings()
    assert inside["hub.connection_string"] == found["hub.connection_string"]
    assert inside.state == shell.where / ".edgeferry"
    monkeypatch.setenv("EDGEFERRY_HUB__HOST", "mine.azure-devices.net")
    assert load_settings()["hub.connection_string"] == ""
