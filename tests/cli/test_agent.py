"""`edgeferry agent` where no hub, no project and no engine is: what it installs, tells and refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.device.state import Store
from tests.cli.shell import Shell
from tests.needs import lack

STATUS = {
    "at": "2026-01-02T03:04:05Z",
    "connected": True,
    "desired_version": 7,
    "status": {"code": 200, "description": ""},
    "layers": {
        "nyc_taxi": {"outcome": "proven"},
        "london_taxi": {"outcome": "quarantined", "reason": "crashes"},
    },
    "modules": {"nyc_taxi": {"runtimeStatus": "running", "image": "r.example/nyc@sha256:1"}},
    "pulls": {"r.example/new@sha256:2": "40 of 90 MB"},
    "pid": 4711,
    "version": "edgeferry 0.1.0",
}


@pytest.fixture
def device(shell: Shell) -> Path:
    """A device of that shell's user, whose engine does not answer."""
    folder = shell.home / "device"
    folder.mkdir(parents=True)
    said = {
        "connection_string": "HostName=hub.example;DeviceId=press-1;SharedAccessKey=AAAA",
        "engine": f"unix://{folder}/no.sock",
        "sandbox": "s1",
    }
    (folder / "device.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def held(device: Path) -> Iterator[Store]:
    """The device's folder as an agent holds it."""
    store = Store(device)
    store.open()
    yield store
    store.close()


def agent(shell: Shell, device: Path, verb: str, *more: str) -> subprocess.CompletedProcess:
    return shell.run("agent", verb, *more, "--state", str(device))


def test_status_tells_the_device_with_layers_modules_and_pulls(shell, device, held) -> None:
    held.save_status(STATUS)
    done = agent(shell, device, "status", "-o", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["device"], said["hub"], said["connected"]) == ("press-1", "hub.example", True)
    assert said["agent"] == {
        "runs": True,
        "form": "nothing",
        "where": "",
        "pid": 4711,
        "version": "edgeferry 0.1.0",
    }
    assert said["layers"] == STATUS["layers"]
    assert said["modules"] == STATUS["modules"]
    assert "no engine answers" in said["engine"]
    table = agent(shell, device, "status").stdout
    for word in ("press-1", "hub.example, connected", "quarantined", "running", "40 of 90 MB"):
        assert word in table


@pytest.mark.parametrize(
    ("status", "runs", "problem"),
    [
        pytest.param({"code": 200}, False, "no agent runs", id="no agent"),
        pytest.param(
            {"code": 500, "description": "nyc_taxi crashes"}, True, "500 nyc_taxi crashes", id="bad"
        ),
        pytest.param({}, True, "not as desired", id="nothing said yet"),
    ],
)
def test_status_is_a_no_when_not_all_is_well(shell, device, held, status, runs, problem) -> None:
    held.save_status({**STATUS, "status": status})
    if not runs:
        held.close()
    done = agent(shell, device, "status", "-o", "json")
    assert done.returncode == 1
    assert problem in done.stderr
    assert json.loads(done.stdout)["connected"] is runs


def test_a_layer_is_asked_for_again_by_its_name(shell, device, held) -> None:
    held.save_status(STATUS)
    assert agent(shell, device, "retry", "london_taxi").returncode == 0
    wrong = agent(shell, device, "retry", "london_tax")
    assert (wrong.returncode, "london_taxi" in wrong.stderr) == (2, True)
    assert held.take_retries() == {"london_taxi"}
    assert held.take_retries() == set()


def test_logs_are_those_of_an_agent_in_the_background(shell, device) -> None:
    assert "no log of an agent" in agent(shell, device, "logs").stderr
    (device / "log").write_text("one\ntwo\nthree\n")
    assert agent(shell, device, "logs", "--tail", "2").stdout == "two\nthree\n"


@pytest.mark.parametrize("verb", ["run", "status", "install --image r.x/i"])
def test_a_folder_that_is_no_device_is_refused_with_what_to_do(shell, tmp_path, verb: str) -> None:
    done = agent(shell, tmp_path, *verb.split())
    assert done.returncode == 2
    assert "device.json cannot be read" in done.stderr
    assert "enrol" in done.stderr


def test_the_unit_is_written_once_and_is_one_that_systemd_takes(shell, device, tmp_path) -> None:
    where = tmp_path / "units"
    where.mkdir()
    first = agent(shell, device, "install", "--unit-dir", str(where), "-o", "json")
    assert first.returncode == 0, first.stderr
    assert (json.loads(first.stdout)["changed"], "systemctl enable" in first.stderr) == (True, True)
    again = agent(shell, device, "install", "--unit-dir", str(where), "-o", "json")
    assert json.loads(again.stdout)["changed"] is False
    (unit,) = where.iterdir()
    assert unit.read_text() == agent(shell, device, "install", "--print").stdout
    if not shutil.which("systemd-analyze"):
        lack("no systemd-analyze is installed")
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_container_by_hand_is_printed(shell, device) -> None:
    said = agent(shell, device, "install", "--print", "--image", "r.example/agent:1").stdout
    assert said.startswith(
        "docker run --detach --name edgeferry-agent --network host --restart unless-stopped"
    )
    assert f"--volume {device}:{device}" in said
    assert f"r.example/agent:1 --state {device} --mark " in said


SYSTEMD = """
mount --make-rprivate / && mount -t tmpfs run /run && mkdir -p /run/systemd/system || exit 99
mount -t tmpfs etc /etc/systemd && mkdir -p /etc/systemd/system || exit 99
export PATH={folder}:$PATH
for verb in install install uninstall; do
    {python} -m edgeferry agent $verb --state {state} -o json
done
ls -A /etc/systemd/system
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >>{folder}/called
case $1 in
is-active) exec test -e {folder}/active ;;
start|restart) touch {folder}/active ;;
esac
"""


def test_where_systemd_runs_the_unit_is_enabled_started_and_left_alone_then(shell, device, tmp_path) -> None:
    """On a systemd of three words, in a mount namespace: the machine's own is not touched."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL.format(folder=folder))
    (folder / "systemctl").chmod(0o755)
    if os.geteuid() or not shutil.which("unshare") or not Path("/etc/systemd").is_dir():
        lack("it takes root, unshare and /etc/systemd")
    script = SYSTEMD.format(folder=folder, python=sys.executable, state=device)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=shell.environment,
        check=False,
    )
    if done.returncode == 99:
        lack(f"no mounts here: {done.stderr}")
    decoder, said, rest = json.JSONDecoder(), [], done.stdout.strip()
    while rest.startswith("{"):
        one, end = decoder.raw_decode(rest)
        said.append(one)
        rest = rest[end:].strip()
    assert [one.get("changed") for one in said[:2]] == [True, False], done.stderr
    assert [one.get("started") for one in said[:2]] == [True, False]
    assert said[2] == {"removed": ["edgeferry-agent.service"], "wiped": False}, done.stderr
    assert rest == ""
    called = (folder / "called").read_text().splitlines()
    unit = "edgeferry-agent.service"
    assert [line for line in called if not line.startswith("is-active")] == [
        "daemon-reload",
        f"enable {unit}",
        f"start {unit}",
        f"enable {unit}",
        f"disable --now {unit}",
        "daemon-reload",
    ]
