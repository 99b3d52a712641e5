"""`edgeferry hub export|import|backup`: what a hub knows, out of one and into another."""

from __future__ import annotations

import json
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from edgeferry.hub.http import REQUEST_BYTES
from edgeferry.settings import hub_runs
from edgeferry.wire import topics
from tests.cli.shell import Shell
from tests.hub.clients import MqttClient, Service, key_of

ROOT = Path(__file__).parents[2]
BASE = {"$edgeAgent": {"properties.desired": {"modules": {}}}, "$edgeHub": {"properties.desired": {}}}


@contextmanager
def owner(shell: Shell) -> Iterator[Service]:
    """The REST API of the shell's hub."""
    folder = shell.hub
    document = json.loads((folder / "connection.json").read_text())
    running: Any = SimpleNamespace(
        state=folder, host_name=document["hostname"], ca_file=folder / "ca.pem", address=shell.address
    )
    running.mqtt_port = 8883
    with httpx.Client(
        verify=ssl.create_default_context(cafile=str(running.ca_file)), trust_env=False, timeout=40
    ) as http:
        yield Service(running, http)


def fill(service: Service) -> tuple[dict, dict]:
    """(an edge device, a plain one), with a module, twins and a deployment."""
    edge, plain = service.new_device(tags={"site": "a\u2028b", "n": 1}), service.new_device(edge=False)
    service.new_module(edge["deviceId"], "m")
    service.done("PATCH", f"/twins/{plain['deviceId']}", {"properties": {"desired": {"a": {"b": 1}}}})
    service.deploy("base", "tags.n = 1", BASE, 1)
    return edge, plain


def know(service: Service) -> list[Any]:
    """What the hub knows, without what changes by itself."""
    query = "SELECT * FROM devices", "SELECT * FROM devices.modules"
    found = [service.done("POST", "/devices/query", {"query": text}) for text in query]
    found.append(service.done("GET", "/devices"))
    found.append([{**one, "metrics": {}} for one in service.done("GET", "/configurations")])
    changing = ("connectionState", "connectionStateUpdatedTime", "lastActivityTime")
    return [[{k: v for k, v in one.items() if k not in changing} for one in rows] for rows in found]


@pytest.mark.parametrize("running", [True, False])
def test_an_export_brings_everything_into_another_hub(
    shell: Shell,
    tmp_path: Path,
    running: bool,
) -> None:
    shell.start()
    with owner(shell) as service:
        fill(service)
        before = know(service)
    if not running:
        shell.done("hub", "stop")
    file = tmp_path / "hub.jsonl"
    shell.done("hub", "export", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    head, *lines = (json.loads(line) for line in file.read_text("utf-8").split("\n") if line)
    assert head == {"edgeferry_hub_export": 1, "keys": True}
    assert [line["kind"] for line in lines] == ["device"] * 2 + ["module"] * 3 + ["configuration"]
    if running:
        shell.done("hub", "stop")
    other = Shell(tmp_path / "other", shell.where, shell.address)
    try:
        if running:
            other.start()
        other.done("hub", "import", str(file))
        if not running:
            other.start()
        with owner(other) as service:
            assert know(service) == before
            again = other.run("hub", "import", str(file))
            assert again.returncode == 1
            assert "is there already; nothing was imported" in again.stderr
            assert know(service) == before
    finally:
        other.run("hub", "stop")


def test_an_import_is_all_or_nothing(shell: Shell, tmp_path: Path) -> None:
    shell.start()
    with owner(shell) as service:
        fill(service)
    lines = [f"{line}\n" for line in shell.done("hub", "export", "-").split("\n") if line]
    plain = next(number for number, line in enumerate(lines) if '"a":{"$lastUpdated"' in line)
    with owner(shell) as service:
        service.done("DELETE", "/configurations/base")
        for device in service.done("GET", "/devices"):
            service.done("DELETE", f"/devices/{device['deviceId']}")
        empty = know(service)
        file = tmp_path / "damaged.jsonl"
        early = lines[5].replace('"device":"d-', '"device":"e-')
        for place, damaged in (
            (3, '{"kind":"device"}\n'),
            (4, "{\n"),
            (5, lines[5].replace('"etag":1', '"etag":true')),
            (plain, lines[plain].replace('"a":{"$lastUpdated"', '"z":{"$lastUpdated"')),
            (6, lines[6].replace("tags.n = 1", "tags.n ==== 1")),
            (6, lines[6].replace('"properties.desired":{}', '"properties.desired":5')),
            (1, early),
            (0, lines[1]),
        ):
            assert damaged != lines[place]
            file.write_text("".join([*lines[:place], damaged, *lines[place + 1 :]]), "utf-8")
            refused = shell.run("hub", "import", str(file))
            assert (refused.returncode, "Traceback" in refused.stderr) == (1, False), damaged
            where = "comes before its device" if damaged == early else f"line {place + 1}:"
            assert where in refused.stderr
            assert "nothing was imported" in refused.stderr
            assert know(service) == empty
        file.write_text("".join(lines), "utf-8")
        shell.done("hub", "import", str(file))
        assert len(service.done("GET", "/devices")) == 2


def test_merge_adds_and_replace_overwrites_with_versions_that_only_grow(
    shell: Shell,
    tmp_path: Path,
) -> None:
    shell.start()
    file = tmp_path / "hub.jsonl"
    with owner(shell) as service:
        edge, plain = fill(service)
        name = plain["deviceId"]
        shell.done("hub", "export", str(file))
        service.done("DELETE", f"/devices/{edge['deviceId']}")
        for value in range(5):
            service.done("PATCH", f"/twins/{name}", {"properties": {"desired": {"a": {"b": value}}}})
        changed = service.done("GET", f"/twins/{name}")
        shell.done("hub", "import", str(file), "--merge")
        assert service.done("GET", f"/twins/{name}") == changed
        modules = [one["moduleId"] for one in service.done("GET", f"/devices/{edge['deviceId']}/modules")]
        assert sorted(modules) == ["$edgeAgent", "$edgeHub", "m"]
        with MqttClient(service.hub, name, None, key_of(plain)) as client:
            shell.done("hub", "import", str(file), "--replace")
            assert client.wait_for("disconnect")
        desired = service.done("GET", f"/twins/{name}")["properties"]["desired"]
        assert desired["a"] == {"b": 1}
        assert desired["$version"] > changed["properties"]["desired"]["$version"]
        both = shell.run("hub", "import", str(file), "--merge", "--replace")
        assert (both.returncode, "contradict" in both.stderr) == (2, True)


def test_without_keys_no_key_is_written_and_new_ones_are_made(
    shell: Shell,
    tmp_path: Path,
) -> None:
    shell.start()
    file = tmp_path / "hub.jsonl"
    with owner(shell) as service:
        _, plain = fill(service)
        shell.done("hub", "export", str(file), "--no-keys")
        text = file.read_text("utf-8")
        for device in service.done("GET", "/devices"):
            for key in device["authentication"]["symmetricKey"].values():
                assert key not in text
        shell.done("hub", "import", str(file), "--replace")
        kept = service.done("GET", f"/devices/{plain['deviceId']}")
        assert kept["authentication"] == plain["authentication"]
        service.done("DELETE", f"/devices/{plain['deviceId']}")
        shell.done("hub", "import", str(file), "--merge")
        fresh = service.done("GET", f"/devices/{plain['deviceId']}")
        assert key_of(fresh) not in ("", key_of(plain))


def test_an_imported_deployment_reaches_connected_devices(shell: Shell, tmp_path: Path) -> None:
    shell.start()
    with owner(shell) as service:
        fill(service)
        lines = shell.done("hub", "export", "-").split("\n")
        service.done("DELETE", "/configurations/base")
        device = service.new_device(tags={"n": 1})
        agent = service.done("GET", f"/devices/{device['deviceId']}/modules/$edgeAgent")
        file = tmp_path / "base.jsonl"
        file.write_text("\n".join([lines[0], *(line for line in lines if '"configuration"' in line[:30])]))
        with MqttClient(service.hub, device["deviceId"], "$edgeAgent", key_of(agent)) as client:
            client.subscribe(topics.DESIRED_PATCHES)
            shell.done("hub", "import", str(file))
            assert json.loads(client.message()[1])["modules"] == {}


def test_a_start_waits_for_an_import_into_the_stopped_hub(shell: Shell, tmp_path: Path) -> None:
    shell.start()
    with owner(shell) as service:
        name = service.new_device(edge=False)["deviceId"]
    head, line = [one for one in shell.done("hub", "export", "-").split("\n") if one]
    shell.done("hub", "stop")
    file = tmp_path / "many.jsonl"
    file.write_text("\n".join([head, *(line.replace(name, f"many-{number}") for number in range(5_000))]))
    command = [sys.executable, "-m", "edgeferry", "hub", "import", str(file)]
    importing = subprocess.Popen(command, env=shell.environment, cwd=shell.where)
    while importing.poll() is None and not hub_runs(shell.hub):
        time.sleep(0.01)
    assert shell.start()["started"] is True
    assert importing.wait(60) == 0
    with owner(shell) as service:
        assert service.done("GET", "/statistics/devices")["totalDeviceCount"] == 5_001


def test_only_the_owner_may_import_into_a_running_hub(shell: Shell) -> None:
    shell.start()
    export = shell.done("hub", "export", "-")
    with owner(shell) as service:
        url = f"https://{service.hub.host_name}/edgeferry/import"
        for token in ("", "nonsense", service.token("registryReadWrite"), service.token("service")):
            said = service.http.post(url, content=export, headers={"authorization": token})
            assert said.status_code == 401
        said = service.http.post(url, content=export, headers={"authorization": service.token()})
        assert (said.status_code, said.json()) == (200, {"imported": 0})


def test_an_import_may_be_larger_than_any_other_request(shell: Shell) -> None:
    """A fleet's export has tens of megabytes; who may not import cannot make the hub read them."""
    shell.start()
    with owner(shell) as service:
        made = service.new_device()["deviceId"]
        header, *lines = shell.done("hub", "export", "-").splitlines()
        own = [line for line in lines if f'"device":"{made}"' in line and '"module":null' in line]
        fleet = [own[0].replace(f'"device":"{made}"', f'"device":"more-{n}"') for n in range(4000)]
        content = "\n".join((header, *fleet))
        assert len(content) > 1.2 * REQUEST_BYTES
        url = f"https://{service.hub.host_name}/edgeferry/import"
        said = service.http.post(url, content=content, headers={"authorization": service.token("service")})
        assert said.status_code == 401
        said = service.http.post(url, content=content, headers={"authorization": service.token()})
        assert (said.status_code, said.json()) == (200, {"imported": 4000})


def test_a_backup_under_writes_is_a_whole_hub(shell: Shell, tmp_path: Path) -> None:
    shell.start()
    copy = tmp_path / "hub.db"
    with owner(shell) as service:
        for number in range(50):
            service.done("PUT", f"/devices/before-{number}", {"deviceId": f"before-{number}"})
        command = [sys.executable, "-m", "edgeferry", "hub", "backup", str(copy)]
        backing = subprocess.Popen(command, env=shell.environment, cwd=shell.where)
        number = 0
        deadline = time.monotonic() + 60
        while backing.poll() is None and time.monotonic() < deadline:
            service.done("PUT", f"/devices/during-{number}", {"deviceId": f"during-{number}"})
            number += 1
        assert backing.wait(60) == 0
        assert number > 1
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    again = shell.run("hub", "backup", str(copy))
    assert (again.returncode, "File exists" in again.stderr) == (2, True)
    shell.done("hub", "stop")
    other = Shell(tmp_path / "other", shell.where, shell.address)
    other.hub.mkdir(parents=True)
    copy.rename(other.hub / "hub.db")
    try:
        other.start()
        with owner(other) as service:
            names = {one["deviceId"] for one in service.done("GET", "/devices")}
        assert {f"before-{one}" for one in range(50)} <= names
        during = sorted(int(one.partition("-")[2]) for one in names if one.startswith("during"))
        assert during == list(range(len(during)))
    finally:
        other.run("hub", "stop")


@pytest.mark.parametrize("verb", ["backup", "export"])
def test_of_no_hub_there_is_nothing_to_take(shell: Shell, tmp_path: Path, verb: str) -> None:
    refused = shell.run("hub", verb, str(tmp_path / "out"))
    assert refused.returncode == 3
    assert "no hub was ever started" in refused.stderr
    assert not (tmp_path / "out").exists()
