"""The hub driven by Microsoft's own clients, unmodified. They need an interpreter of their own."""

import json
import os
import queue
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from edgeferry.wire.connection import render_connection_string
from tests.hub.clients import Service, key_of
from tests.hubs import RunningHub, free_address
from tests.iot_edge import IOT_EDGE, documents, fill_template
from tests.needs import lack

HERE = Path(__file__).parent
pytestmark = pytest.mark.sdk


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that has `requirements.txt`."""
    default = HERE.parents[1] / ".venv-azure" / "bin" / "python"
    found = Path(os.environ.get("EDGEFERRY_TEST_SDK_PYTHON", default))
    if not found.exists():
        lack(
            f"no {found}: make it with `uv venv .venv-azure` and "
            "`uv pip install --python .venv-azure/bin/python -r tests/sdk/requirements.txt`, "
            "or name one in EDGEFERRY_TEST_SDK_PYTHON"
        )
    return str(found)


@pytest.fixture
def hub(tmp_path) -> Iterator[RunningHub]:
    """A hub on port 8883 of an address of its own: the device SDK knows no other port."""
    running = RunningHub(tmp_path, free_address(), 8443, 8883).start()
    yield running
    running.stop()


@pytest.fixture
def service(hub) -> Iterator[Service]:
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    with httpx.Client(verify=context, trust_env=False, timeout=40) as http:
        yield Service(hub, http)


class SdkModule:
    """The running `be_module.py`."""

    def __init__(self, python: str, hub: RunningHub, device: str, device_key: str, module_key: str) -> None:
        connections = [hub.connection(device, module_key, "m"), hub.connection(device, device_key)]
        texts = [render_connection_string(replace(one, gateway_host_name=hub.address)) for one in connections]
        with (hub.state / "sdk-log").open("wb") as log:
            self.process = subprocess.Popen(
                [python, str(HERE / "be_module.py"), str(hub.ca_file), *texts],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.lines: queue.Queue = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def wait_for(self, event: str, **facts):
        """The next event of that kind and content."""
        while True:
            said = self.lines.get(timeout=40)
            if said["event"] == event and facts.items() <= said.items():
                return said

    def report(self, patch) -> None:
        self.process.stdin.write(json.dumps(patch) + "\n")
        self.process.stdin.flush()
        self.wait_for("reported")

    def end(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(15)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()


@pytest.fixture
def module(python, hub, service) -> Iterator[tuple[str, SdkModule]]:
    """(device id, its module `m` run by the SDK)"""
    device = service.new_device()
    name = device["deviceId"]
    running = SdkModule(python, hub, name, key_of(device), key_of(service.new_module(name)))
    yield name, running
    running.end()


def test_azure_iot_hub_drives_every_route(python, hub, service, module):
    device, sdk = module
    sdk.wait_for("ready")
    owner = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    ended = subprocess.run(
        [python, str(HERE / "drive_service.py"), owner, device, "m"],
        env={"REQUESTS_CA_BUNDLE": str(hub.ca_file), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout.strip() == "done", ended.stderr


def test_azure_iot_hub_deploys_what_we_render_and_the_references_template(python, hub, service):
    device = service.new_device()["deviceId"]
    condition = f"deviceId = '{device}'"
    theirs = {"id": "nyc", "content": fill_template(), "targetCondition": condition, "priority": 10}
    ours = list(documents(IOT_EDGE, condition).values())
    owner = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    ended = subprocess.run(
        [python, str(HERE / "deploy.py"), owner],
        input=json.dumps([*ours, theirs]),
        env={"REQUESTS_CA_BUNDLE": str(hub.ca_file), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [f"{one['id']} 1" for one in (*ours, theirs)]
    desired = service.desired(device, "$edgeAgent")
    assert set(desired["modules"]) == {"companion", "nyc_taxi", "testmodule"}
    assert set(desired["runtime"]["settings"]["registryCredentials"]) == {"taxi_azurecr_io", "researchmlops"}


def test_azure_iot_device_lives_through_twin_method_and_a_restart_of_the_hub(hub, service, module):
    device, sdk = module
    assert sdk.wait_for("twin")["twin"]["desired"] == {"$version": 1}
    sdk.wait_for("ready")
    path = f"/twins/{device}/modules/m"
    assert service.done("GET", path)["properties"]["reported"]["sdk"] == {"version": "2.14"}
    assert service.done("GET", path)["connectionState"] == "Connected"

    service.done("PATCH", path, {"properties": {"desired": {"speed": 1, "gone": None}}})
    assert sdk.wait_for("patch")["patch"] == {"speed": 1, "gone": None, "$version": 2}
    echo = {"methodName": "echo", "payload": "before"}
    assert service.done("POST", f"{path}/methods", echo) == {"status": 200, "payload": {"echo": "before"}}

    hub.stop()
    sdk.wait_for("connection", connected=False)
    hub.start()
    sdk.wait_for("connection", connected=True)
    service.done("PATCH", path, {"properties": {"desired": {"speed": 2}}})
    while (said := sdk.wait_for("patch")["patch"])["$version"] != 3:
        pass
    assert said["speed"] == 2
    echo = {"methodName": "echo", "payload": "after", "connectTimeoutInSeconds": 10}
    assert service.done("POST", f"{path}/methods", echo) == {"status": 200, "payload": {"echo": "after"}}
    sdk.report({"after": "restart"})
    assert service.done("GET", path)["properties"]["reported"]["after"] == "restart"
