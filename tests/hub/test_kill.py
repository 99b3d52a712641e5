"""`kill -9` of the hub amid writes and pushes: what it acknowledged is there, everybody is back."""

import asyncio
import json
import os
import random
import ssl
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeferry.wire import topics
from edgeferry.wire.connection import render_connection_string
from edgeferry.wire.telemetry import parse_page
from tests.hub.clients import key_of
from tests.hub.raw import LostError, RawClient, RawService
from tests.hubs import RunningHub

KILLS = int(os.environ.get("EDGEFERRY_TEST_KILLS", "5"))
WRITES = int(os.environ.get("EDGEFERRY_TEST_WRITES", "60"))
"""Acknowledged writes before each kill."""
CLIENTS = 8
BACK_S = 60.0
SDK_MODULE = Path(__file__).with_name("sdk_module.py")
SDK_PYTHON = Path(
    os.environ.get("EDGEFERRY_TEST_SDK_PYTHON", Path(__file__).parents[2] / ".venv-azure" / "bin" / "python")
)
ANY = {"If-Match": "*"}


@dataclass
class Ledger:
    """What the hub acknowledged, and what was sent without an answer since."""

    values: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, set] = field(default_factory=dict)
    acknowledged: int = 0

    def sent(self, what: str, value: Any) -> None:
        self.unsure.setdefault(what, set()).add(value)

    def got(self, what: str, value: Any, version: int) -> None:
        assert version > self.versions.get(what, 0), f"{what}: version {version} after {self.versions[what]}"
        self.values[what], self.versions[what] = value, version
        self.unsure[what] = set()
        self.acknowledged += 1

    def check(self, what: str, value: Any, version: int) -> None:
        """The value is the acknowledged one, or one sent later whose answer was lost; the version too."""
        if what not in self.values:
            return
        unsure = self.unsure.get(what, set())
        assert value == self.values[what] or value in unsure, (what, value, self.values[what], unsure)
        assert version >= self.versions[what], (what, version, self.versions[what])
        if value == self.values[what]:
            assert version == self.versions[what], (what, version, self.versions[what])
        self.values[what], self.versions[what], self.unsure[what] = value, version, set()


@dataclass
class Scene:
    """Clients and writers around one hub."""

    hub: RunningHub
    service: RawService
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    clients: list[RawClient] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)
    """The highest version of desired properties that each client was told of."""
    pushes: int = 0
    numbers: int = 0
    messages: set[int] = field(default_factory=set)
    """Telemetry that was acknowledged and not yet read."""
    cursor: str = ""
    writing: asyncio.Event = field(default_factory=asyncio.Event)
    idle: list = field(default_factory=list)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    async def populate(self) -> None:
        context = ssl.create_default_context(cafile=str(self.hub.ca_file))
        for index in range(CLIENTS):
            name = f"d{index}"
            device = await self.service.done("PUT", f"/devices/{name}", {"capabilities": {"iotEdge": True}})
            module = await self.service.done("PUT", f"/devices/{name}/modules/m", {})
            place = (self.hub.address, self.hub.mqtt_port)
            for identity, own in ((device, None), (module, "m")):
                client = RawClient(place, self.hub.host_name, context, name, key_of(identity), own)
                client.on_desired = lambda version, _patch, one=client: self.take_push(one, version)
                self.clients.append(client)
        agent = {"properties.desired": {"schemaVersion": "1.1", "modules": {"given": {}}}}
        content = {"modulesContent": {"$edgeAgent": agent, "given": {"properties.desired": {"base": True}}}}
        await self.service.done("PUT", "/configurations/base", {"targetCondition": "*", "content": content})

    def take_push(self, client: RawClient, version: int) -> None:
        name = f"{client.device}/{client.module or ''}"
        assert version > self.told.get(name, 0), (
            f"{name} was told of version {version} after {self.told[name]}"
        )
        self.told[name] = version
        self.pushes += 1

    # writers: each does one write after the other, as long as `writing` is set

    async def write_for_ever(self, one_write) -> None:
        while True:
            await self.writing.wait()
            with suppress(LostError):
                self.idle.append(one_write)
                try:
                    await one_write()
                finally:
                    self.idle.remove(one_write)
            await asyncio.sleep(0)

    def writers(self) -> list:
        some = self.clients
        reporters = [lambda one=one: self.report(one) for one in some]
        taggers = [lambda one=one: self.tag(one.device) for one in some if one.module is None]
        wishers = [lambda one=one: self.wish(one) for one in some if one.module]
        senders = [lambda one=one: self.send(one) for one in some[:4]]
        return [*reporters, *taggers, *wishers, *senders, self.configure, self.register]

    async def report(self, client: RawClient) -> None:
        what, number = f"reported {client.device}/{client.module or ''}", self.number()
        if not client.connected:
            await asyncio.sleep(0.02)
            return
        self.ledger.sent(what, number)
        self.ledger.got(what, number, await client.report({"n": number}))

    async def send(self, client: RawClient) -> None:
        number = self.number()
        if not client.connected:
            await asyncio.sleep(0.02)
            return
        topic = topics.render_telemetry(client.device, client.module, {})
        await client.publish(topic, json.dumps({"n": number}).encode())
        self.messages.add(number)
        self.ledger.acknowledged += 1

    async def tag(self, device: str) -> None:
        what, number = f"tags {device}", self.number()
        self.ledger.sent(what, number)
        twin = await self.write(f"/twins/{device}", {"tags": {"n": number}})
        self.ledger.values[what], self.ledger.unsure[what] = number, set()
        self.ledger.versions[what] = max(self.ledger.versions.get(what, 0), twin["version"])
        self.ledger.acknowledged += 1

    async def wish(self, client: RawClient) -> None:
        what, number = f"desired {client.device}/m", self.number()
        self.ledger.sent(what, number)
        path = f"/twins/{client.device}/modules/m"
        twin = await self.write(path, {"properties": {"desired": {"n": number}}})
        self.ledger.got(what, number, twin["properties"]["desired"]["$version"])

    async def configure(self) -> None:
        number = self.number()
        self.ledger.sent("configuration", number)
        body = {"targetCondition": "*", "priority": 0, "labels": {"n": str(number)}}
        await self.service.done("PUT", "/configurations/base", body, headers=ANY)
        self.ledger.got("configuration", number, number)

    async def register(self) -> None:
        name = f"new-{self.number()}"
        device = await self.service.done("PUT", f"/devices/{name}", {})
        self.ledger.got(f"device {name}", key_of(device), 1)
        if self.chance.random() < 0.5:
            self.ledger.sent(f"device {name}", None)
            await self.service.done("DELETE", f"/devices/{name}")
            self.ledger.got(f"device {name}", None, 2)

    async def write(self, path: str, body: dict) -> dict:
        response = await self.service.ask("PATCH", path, body)
        assert response.status_code == 200, response.text
        return response.json()

    # after a kill

    async def check(self) -> None:
        """Everything acknowledged is there; every client is back, is told and answers."""
        ledger = self.ledger
        for client in self.clients:
            path = f"/twins/{client.device}" + ("/modules/m" if client.module else "")
            name = f"{client.device}/{client.module or ''}"
            twin = await self.service.done("GET", path)
            reported, desired = twin["properties"]["reported"], twin["properties"]["desired"]
            ledger.check(f"reported {name}", reported.get("n"), reported["$version"])
            if client.module:
                ledger.check(f"desired {name}", desired.get("n"), desired["$version"])
            else:
                assert twin["version"] >= ledger.versions.get(f"tags {client.device}", 0)
                tag, known = twin["tags"].get("n"), ledger.values.get(f"tags {client.device}")
                assert tag == known or tag in ledger.unsure.get(f"tags {client.device}", set())
            assert desired["$version"] >= self.told.get(name, 0), name
        shown = await self.service.done("GET", "/configurations/base")
        ledger.values.setdefault("configuration", None)
        assert int(shown["labels"].get("n", 0)) in {
            ledger.values["configuration"] or 0,
            *ledger.unsure.get("configuration", ()),
        }
        await self.check_registry()
        await self.check_messages()
        await asyncio.gather(*map(self.is_back, self.clients))

    async def check_registry(self) -> None:
        devices = {one["deviceId"]: key_of(one) for one in await self.service.done("GET", "/devices")}
        for what, key in list(self.ledger.values.items()):
            if what.startswith("device "):
                found = devices.get(what.removeprefix("device "))
                assert found == key or found in self.ledger.unsure[what], what

    async def check_messages(self) -> None:
        while True:
            asked = {"limit": "1000", "after": self.cursor}
            page = parse_page(await self.service.done("GET", "/messages/events", params=asked))
            if not page.messages:
                break
            self.messages -= {number_of(one.body) for one in page.messages}
            self.cursor = page.next
        assert not self.messages, f"{len(self.messages)} acknowledged messages are not there"

    async def is_back(self, client: RawClient) -> None:
        deadline = time.monotonic() + BACK_S
        while not client.connected or client.connack is None:
            assert time.monotonic() < deadline, f"{client.device} is not back"
            await asyncio.sleep(0.02)
        path = f"/twins/{client.device}" + ("/modules/m" if client.module else "")
        before = self.told.get(f"{client.device}/{client.module or ''}", 0)
        while True:  # the client may be back in the hub's eyes a moment later than in its own
            response = await self.service.ask(
                "POST", f"{path}/methods", {"methodName": "echo", "payload": {"n": 1}}
            )
            if response.status_code == 200:
                break
            assert time.monotonic() < deadline, response.text
            await asyncio.sleep(0.05)
        assert response.json() == {"status": 200, "payload": {"n": 1}}
        number = self.number()
        twin = await self.write(path, {"properties": {"desired": {"n": number}}})
        version = twin["properties"]["desired"]["$version"]
        if client.module:
            self.ledger.got(f"desired {client.device}/m", number, version)
        while self.told.get(f"{client.device}/{client.module or ''}", 0) < version:
            assert time.monotonic() < deadline, f"{client.device} was told of {before}, not of {version}"
            await asyncio.sleep(0.01)


def number_of(body: bytes) -> int | None:
    with suppress(ValueError, TypeError):
        return json.loads(body)["n"]
    return None  # the SDK's


@pytest.fixture
def scene(hub, service) -> Scene:
    http = httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=str(hub.ca_file)), trust_env=False, timeout=40
    )
    return Scene(hub, RawService(hub.host_name, service.policy_key(), http), random.Random(5))


def test_nothing_acknowledged_is_lost_and_everybody_is_back_after_each_kill(scene):
    asyncio.run(kill_often(scene))


async def kill_often(scene: Scene) -> None:
    await scene.populate()
    sdk = await start_sdk(scene)
    tasks = [asyncio.create_task(client.stay()) for client in scene.clients]
    tasks += [asyncio.create_task(scene.write_for_ever(one)) for one in scene.writers()]
    try:
        for number in range(KILLS):
            scene.writing.set()
            aim = scene.ledger.acknowledged + WRITES
            deadline = time.monotonic() + BACK_S
            while scene.ledger.acknowledged < aim:
                fail_if_done(tasks)
                assert time.monotonic() < deadline, "the writers do not get on"
                await asyncio.sleep(scene.chance.random() / 200)
            scene.hub.kill()
            scene.writing.clear()
            await asyncio.to_thread(scene.hub.start)
            while scene.idle:
                fail_if_done(tasks)
                await asyncio.sleep(0.01)
            await scene.check()
            await sdk.is_back(scene, number)
        print(f"{KILLS} kills, {scene.ledger.acknowledged} acknowledged writes, {scene.pushes} pushes")
        assert scene.pushes >= 5 * KILLS
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # closed connections are told so in the loop's next rounds
        await scene.service.http.aclose()
        await sdk.close()


def fail_if_done(tasks: list[asyncio.Task]) -> None:
    for task in tasks:
        if task.done():
            task.result()


# --- one client of Microsoft's


@dataclass
class Sdk:
    """A running `sdk_module.py`; None where the SDK is not installed."""

    process: asyncio.subprocess.Process | None
    patches: list = field(default_factory=list)
    reader: asyncio.Task | None = None

    async def is_back(self, scene: Scene, number: int) -> None:
        if self.process is None:
            return
        wish = {"properties": {"desired": {"kill": number}}}
        await scene.write("/twins/sdk/modules/m", wish)
        deadline = time.monotonic() + BACK_S
        while not any(patch.get("kill") == number for patch in self.patches):
            assert time.monotonic() < deadline, f"the SDK was not told after kill {number}"
            await asyncio.sleep(0.02)
        path, body = "/twins/sdk/modules/m/methods", {"methodName": "echo", "payload": number}
        answer = await scene.service.done("POST", path, {**body, "connectTimeoutInSeconds": 30})
        assert answer == {"status": 200, "payload": {"echo": number}}

    async def read(self) -> None:
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if said["event"] == "patch":
                self.patches.append(said["patch"])

    async def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            await self.reader


async def start_sdk(scene: Scene) -> Sdk:
    if not SDK_PYTHON.exists():
        return Sdk(None)
    hub = scene.hub
    await scene.service.done("PUT", "/devices/sdk", {"capabilities": {"iotEdge": True}})
    module = await scene.service.done("PUT", "/devices/sdk/modules/m", {})
    connection = hub.connection("sdk", key_of(module), "m")
    text = render_connection_string(replace(connection, gateway_host_name=hub.address))
    process = await asyncio.create_subprocess_exec(
        str(SDK_PYTHON),
        str(SDK_MODULE),
        str(hub.ca_file),
        text,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    sdk = Sdk(process)
    while line := await process.stdout.readline():
        if json.loads(line)["event"] == "ready":
            break
    sdk.reader = asyncio.create_task(sdk.read())
    return sdk


# --- in the midst of an assignment


def test_a_layer_that_a_kill_interrupts_reaches_every_device(hub, service):
    """Acknowledged or not, it is on all devices or on none, and on all once it is there."""
    devices = 300
    for first in range(0, devices, 100):
        some = [f"f{index}" for index in range(first, first + 100)]
        entries = [{"id": one, "importMode": "create", "capabilities": {"iotEdge": True}} for one in some]
        assert service.done("POST", "/devices", entries)["isSuccessful"]
    condition = "IS_DEFINED(deviceId) AND NOT deviceId IN ['sdk']"
    content = {"$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": {"a": {}}}}}
    service.deploy("fleet", condition, content)
    chance = random.Random(3)
    interrupted = 0
    for number in range(4):
        name = f"layer-{number}"
        layer = {"$edgeAgent": {f"properties.desired.modules.m{number}": {}}}
        request = {"targetCondition": condition, "priority": 1, "content": {"modulesContent": layer}}
        context = ssl.create_default_context(cafile=str(hub.ca_file))
        with httpx.Client(verify=context, trust_env=False, timeout=60) as http:
            victim = type(service)(hub, http)
            acknowledged = asyncio.run(put_and_kill(hub, victim, name, request, chance.random() * 0.4))
            interrupted += not acknowledged
        hub.start()
        known = service.ask("GET", f"/configurations/{name}").status_code == 200
        assert known or not acknowledged
        if not known:
            service.done("PUT", f"/configurations/{name}", request)
        deadline = time.monotonic() + BACK_S
        while missing := without_module(service, devices, f"m{number}"):
            assert time.monotonic() < deadline, f"{name} never came to {sorted(missing)[:5]}"
            time.sleep(0.05)
    assert interrupted, "no kill came in time"


async def put_and_kill(hub, service, name: str, request: dict, after_s: float) -> bool:
    """Whether the hub acknowledged before it was killed."""

    def put() -> bool:
        try:
            return service.ask("PUT", f"/configurations/{name}", request).status_code == 200
        except httpx.HTTPError:
            return False

    putting = asyncio.create_task(asyncio.to_thread(put))
    await asyncio.sleep(after_s)
    hub.kill()
    return await putting


def without_module(service, devices: int, module: str) -> set[str]:
    having: set[str] = set()
    headers = {"x-ms-max-item-count": "1000"}
    text = f"SELECT deviceId FROM devices.modules WHERE moduleId = '{module}'"
    agents = "SELECT deviceId, properties.desired.modules FROM devices.modules WHERE moduleId = '$edgeAgent'"
    rows = service.done("POST", "/devices/query", {"query": text}, headers=headers)
    having = {row["deviceId"] for row in rows}
    told = {
        row["deviceId"]
        for row in service.done("POST", "/devices/query", {"query": agents}, headers=headers)
        if module in row.get("modules", {})
    }
    return {f"f{index}" for index in range(devices)} - (having & told)
