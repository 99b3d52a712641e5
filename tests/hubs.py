"""A real local hub for tests, in a process of its own, and the service side to look at it from."""

import json
import os
import random
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from edgeferry.wire.connection import ConnectionString, parse_connection_string
from edgeferry.wire.sas import render_sas

READY_S = 60


@dataclass
class RunningHub:
    """A hub at `address`; device MQTT at `mqtt_port`."""

    state: Path
    address: str
    https_port: int
    mqtt_port: int
    also: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    process: subprocess.Popen | None = None

    def start(self) -> "RunningHub":
        """The hub serves."""
        addresses = [part for address in (self.address, *self.also) for part in ("--address", address)]
        ports = ["--https-port", str(self.https_port), "--mqtt-port", str(self.mqtt_port)]
        options = (*addresses, *ports, *self.options)
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeferry.hub", "--state", str(self.state), *options],
                stderr=log,
                env=os.environ.copy(),
            )
        deadline = time.monotonic() + READY_S
        while not self._answers():
            assert self.process.poll() is None, (self.state / "log").read_text()
            assert time.monotonic() < deadline, "the hub does not answer"
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """The hub has ended."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            finally:
                self.process.kill()
                self.process.wait()
                self.process = None

    def kill(self) -> None:
        """The hub has ended without a moment to prepare for it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def ca_file(self) -> Path:
        return self.state / "ca.pem"

    @property
    def host_name(self) -> str:
        return f"{self.address}:{self.https_port}"

    def ask(self, method: str, path: str, body=None, **query: str):
        """The document the hub answers with, as the service sees it; fails on an error status."""
        owner = parse_connection_string(
            json.loads((self.state / "connection.json").read_text())["connection_string"]
        )
        token = render_sas(owner.host_name, owner.key, int(time.time()) + 60, owner.policy)
        with self._client() as client:
            response = client.request(
                method,
                f"https://{self.host_name}{path}",
                params={"api-version": "2021-04-12", **query},
                json=body,
                headers={"Authorization": token, **({"If-Match": "*"} if method == "PATCH" else {})},
            )
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    def create_device(self, device: str) -> str:
        """The key of a new edge device."""
        said = self.ask(
            "PUT",
            f"/devices/{device}",
            {"deviceId": device, "status": "enabled", "capabilities": {"iotEdge": True}},
        )
        return said["authentication"]["symmetricKey"]["primaryKey"]

    def create_module(self, device: str, module: str) -> ConnectionString:
        """The connection string of a new module."""
        said = self.ask(
            "PUT", f"/devices/{device}/modules/{module}", {"deviceId": device, "moduleId": module}
        )
        key = said["authentication"]["symmetricKey"]["primaryKey"]
        return self.connection(device, key, module)

    def connection(self, device: str, key: str, module: str | None = None) -> ConnectionString:
        """A connection string that works on this machine."""
        gateway = f"{self.address}:{self.mqtt_port}"
        return ConnectionString(self.host_name, key, None, device, module, gateway)

    def twin(self, device: str, module: str) -> dict:
        """The module's twin."""
        return self.ask("GET", f"/twins/{device}/modules/{quote(module)}")

    def reported(self, device: str, module: str) -> dict:
        """The module's reported properties."""
        return self.twin(device, module)["properties"]["reported"]

    def patch_desired(self, device: str, module: str, patch: dict) -> int:
        """The version that the module's desired properties have after the patch."""
        body = {"properties": {"desired": patch}}
        said = self.ask("PATCH", f"/twins/{device}/modules/{quote(module)}", body)
        return said["properties"]["desired"]["$version"]

    def call(self, device: str, module: str, method: str, payload) -> dict:
        """The module's answer to a direct method."""
        body = {"methodName": method, "payload": payload, "responseTimeoutInSeconds": 30}
        return self.ask("POST", f"/twins/{device}/modules/{quote(module)}/methods", body)

    def _client(self) -> httpx.Client:
        return httpx.Client(
            verify=ssl.create_default_context(cafile=str(self.ca_file)), trust_env=False, timeout=40
        )

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return client.get(f"https://{self.host_name}/health").status_code == 200
        except (httpx.HTTPError, OSError):
            return False


def free_address() -> str:
    """A loopback address of which nobody uses port 8883."""
    while True:
        address = f"127.{random.randint(32, 99)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        try:
            with socket.create_server((address, 8883)):
                return address
        except OSError:
            continue
