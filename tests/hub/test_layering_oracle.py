"""Random deployments on a real hub, read back from its twins, against an oracle sharing no line with it."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from tests.hub.clients import Service
from tests.hub.layering_oracle import AGENT, HUB, Oracle, write

SETS = int(os.environ.get("EDGEFERRY_TEST_SETS", "400"))
"""Different sets of deployments seen on devices, for each seed; 2500 for four seeds are ten thousand."""
SEEDS = [int(seed) for seed in os.environ.get("EDGEFERRY_TEST_SEEDS", "1 2 3 4").split()]
DEVICES = 24
STEP = 3
"""Changes between two looks at all twins; `$version` tells of what lies between."""
LIVE = 24
"""Configurations at most at one time."""
SHRINK_S = 60.0

_QUERY = "SELECT deviceId, moduleId, properties.desired, configurations FROM devices.modules"
_MODULES = ("m1", "m2", "m3", "m4")
_PATHS = (
    "tags.env",
    "tags.ring",
    "tags.flag",
    "tags.site.name",
    "tags.site.floor",
    "tags.[[group]]",
    "tags.none",
)
_VALUES = ("prod", "test", "it''s", "it's", 0, 1, 2, 1.5, True, False)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_deployments_give_every_device_what_the_oracle_says(service, seed):
    world = World(service, DEVICES)
    with closing(world.pending):
        run(world, seed)


def run(world: World, seed: int) -> None:
    """Changes until enough different sets of deployments were seen on devices."""
    chance = random.Random(seed)
    world.reset()
    done: list[tuple] = []
    seen: set[tuple] = set()
    began = time.monotonic()
    while len(seen) < SETS:
        for change in [draw_change(chance, world.oracle) for _ in range(STEP)]:
            if world.make(change):
                done.append(change)
        seen.update(device.targeted for device in world.oracle.devices.values() if len(device.targeted) > 1)
        fault = world.find_difference()
        if fault:
            pytest.fail(explain(world, fault, done, seed))
    print(f"seed {seed}: {len(seen)} sets, {len(done)} changes, {time.monotonic() - began:.1f} s")


# --- one hub and the oracle side by side


@dataclass
class World:
    """The same changes made to the hub and to the oracle."""

    service: Service
    devices: int
    oracle: Oracle = field(default_factory=Oracle)
    touches: int = 0

    def __post_init__(self) -> None:
        # Looked into only to know when the hub has nothing left to do; what it did is asked of the hub.
        file = self.service.hub.state / "hub.db"
        self.pending = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)

    def reset(self) -> None:
        """Both know the same fresh devices and no deployment."""
        for one in self.service.done("GET", "/configurations"):
            self.service.done("DELETE", f"/configurations/{one['id']}")
        for one in self.service.done("GET", "/devices"):
            self.service.done("DELETE", f"/devices/{one['deviceId']}")
        self.oracle = Oracle()
        for number in range(self.devices):
            name, own = f"d{number}", ("m4", "own") if number % 4 == 0 else ()
            body = {"deviceId": name, "capabilities": {"iotEdge": True}}
            self.service.done("PUT", f"/devices/{name}", body)
            for module in own:
                self.service.done("PUT", f"/devices/{name}/modules/{module}", {})
            self.oracle.add_device(name, own)

    def make(self, change: tuple) -> bool:
        """Whether the change made sense; then both have it, and the hub has worked it off."""
        if not self.oracle.apply(change):
            return False
        self._send(change)
        while self.pending.execute("SELECT 1 FROM pending LIMIT 1").fetchone():
            time.sleep(0.001)
        return True

    def _send(self, change: tuple) -> None:
        done = self.service.done
        match change:
            case ("create", name, priority, condition, content):
                body = {"targetCondition": write(condition), "priority": priority}
                done("PUT", f"/configurations/{name}", {**body, "content": {"modulesContent": content}})
            case ("delete", name):
                done("DELETE", f"/configurations/{name}", headers={"If-Match": "*"})
            case ("update", name, priority, condition):
                body = {"targetCondition": write(condition), "priority": priority}
                done("PUT", f"/configurations/{name}", body, headers={"If-Match": "*"})
            case ("tags", device, patch):
                done("PATCH", f"/twins/{device}", {"tags": patch})
            case ("hand", device, module, patch):
                body = {"properties": {"desired": patch}}
                done("PATCH", f"/twins/{device}/modules/{module}", body)
                self.touches += 1
                done("PATCH", f"/twins/{device}", {"tags": {"touched": self.touches}})

    def find_difference(self) -> str | None:
        """Where hub and oracle differ, by the twins that the hub shows; None when nowhere."""
        rows = self._rows()
        expected = {
            (device.name, name): module
            for device in self.oracle.devices.values()
            for name, module in device.modules.items()
        }
        found = {(row["deviceId"], row["moduleId"]) for row in rows}
        if found != expected.keys():
            return f"modules: hub only {found - expected.keys()}, oracle only {expected.keys() - found}"
        for row in rows:
            module = expected[row["deviceId"], row["moduleId"]]
            desired = dict(row["desired"])
            version = desired.pop("$version")
            metadata = desired.pop("$metadata")
            statuses = {name: one["status"] for name, one in row["configurations"].items()}
            hub = _text([version, statuses, desired])
            oracle = _text([module.version, module.statuses, module.desired])
            where = f"{row['deviceId']}/{row['moduleId']}"
            if hub != oracle:
                return f"$version, statuses, desired of {where}:\n  hub    {hub}\n  oracle {oracle}"
            if not mirrors(metadata, desired):
                return f"$metadata of {where}: {_text(metadata)} for {_text(desired)}"
        return None

    def _rows(self) -> list[dict]:
        rows: list[dict] = []
        headers = {"x-ms-max-item-count": "1000"}
        while True:
            response = self.service.ask("POST", "/devices/query", {"query": _QUERY}, headers=headers)
            assert response.status_code == 200, response.text
            rows += response.json()
            after = response.headers.get("x-ms-continuation")
            if not after:
                return rows
            headers = {**headers, "x-ms-continuation": after}


def mirrors(metadata: dict, values) -> bool:
    """Whether there is metadata for each value, and for nothing else."""
    names = {name for name in metadata if not name.startswith("$")}
    if not isinstance(values, dict):
        return not names
    return names == values.keys() and all(mirrors(metadata[name], values[name]) for name in names)


def explain(world: World, fault: str, changes: list[tuple], seed: int) -> str:
    """The fault, and the fewest changes found in a minute that still lead to one."""

    def fails(some: list[tuple]) -> str | None:
        world.reset()
        for change in some:
            world.make(change)
        return world.find_difference()

    deadline = time.monotonic() + SHRINK_S
    shortcut = outline(changes)
    again = fails(shortcut)
    kept, fault = (shortcut, again) if again else (changes, fault)
    size = len(kept) // 2
    while size and time.monotonic() < deadline:
        start = 0
        while start < len(kept) and time.monotonic() < deadline:
            fewer = kept[:start] + kept[start + size :]
            again = fails(fewer)
            if again:
                kept, fault = fewer, again
            else:
                start += size
        size //= 2
    lines = "\n".join(f"    {change!r}," for change in kept)
    return f"{fault}\nseed {seed}; replay with World(service, {DEVICES}).make(...) of\n[\n{lines}\n]"


def outline(changes: list[tuple]) -> list[tuple]:
    """Changes that lead straight to what stands at the end: tags first, deployments by age."""
    oracle = Oracle()
    for number in range(DEVICES):
        oracle.add_device(f"d{number}")
    for change in changes:
        oracle.apply(change)
    tags = [("tags", one.name, one.tags) for one in oracle.devices.values() if one.tags]
    deployed = sorted(oracle.deployed.values(), key=lambda one: one.born)
    return tags + [("create", one.name, one.priority, one.condition, one.content) for one in deployed]


def _text(value) -> str:
    return json.dumps(value, sort_keys=True)


# --- chance


def draw_change(chance: random.Random, oracle: Oracle) -> tuple:
    """A change of some kind; it may make no sense at the moment."""
    live = sorted(oracle.deployed)
    kinds = ["create"] * (5 if len(live) < LIVE else 0) + ["delete"] * 4 * bool(live)
    kinds += ["update"] * 4 * bool(live) + ["tags"] * 5 + ["hand"] * 2
    device = f"d{chance.randrange(DEVICES)}"
    match chance.choice(kinds):
        case "create":
            name = f"c{chance.randrange(3 * LIVE)}"
            content = draw_base(chance) if chance.random() < 0.4 else draw_layer(chance)
            return "create", name, chance.randrange(4), draw_condition(chance), content
        case "delete":
            return "delete", chance.choice(live)
        case "update":
            name = chance.choice(live)
            old = oracle.deployed[name]
            if chance.random() < 0.5:
                return "update", name, chance.randrange(4), old.condition
            return "update", name, old.priority, draw_condition(chance)
        case "tags":
            return "tags", device, draw_tags(chance)
        case _:
            module = chance.choice((AGENT, HUB, *_MODULES, "own"))
            patch = {
                "x": chance.choice((None, 1, {"y": 2})),
                "modules": chance.choice((None, {"by": {"a": 1}})),
            }
            return "hand", device, module, {name: patch[name] for name in patch if chance.random() < 0.7}


def draw_tags(chance: random.Random) -> dict:
    def some(*values):
        return chance.choice((*values, None))

    patch: dict = {
        "env": some("prod", "test", "it's", 1),
        "ring": some(0, 1, 2, "1", 1.5),
        "flag": some(True, False, "true"),
        "site": some({"name": some("prod", "test"), "floor": some(0, 1)}, "prod"),
        "group": some("prod", "test", 1),
    }
    return {name: patch[name] for name in chance.sample(sorted(patch), chance.randint(1, 3))}


def draw_condition(chance: random.Random, depth: int = 2) -> tuple:
    roll = chance.random()
    if depth == 2 and roll < 0.12:
        return ("all",) if roll < 0.1 else ("none",)
    if depth and roll < 0.5:
        word = chance.choice(("not", "and", "or"))
        if word == "not":
            return "not", draw_condition(chance, depth - 1 if depth < 2 else 1)
        return word, [
            draw_condition(chance, depth - 1 if depth < 2 else 1) for _ in range(chance.randint(2, 3))
        ]
    path = chance.choice(_PATHS)
    match chance.choice(("is", "defined", "cmp", "cmp", "cmp", "in", "not in", "id", "id", "id")):
        case "is":
            return "is", "tags.flag"
        case "defined":
            return "defined", path
        case "cmp":
            value = chance.choice(_VALUES)
            operators = ("=", "!=") if isinstance(value, bool) else ("=", "!=", "<", "<=", ">", ">=")
            return "cmp", path, chance.choice(operators), value
        case "id":
            return (
                chance.choice(("in", "not in")),
                "deviceId",
                [f"d{chance.randrange(DEVICES)}" for _ in range(9)],
            )
        case word:
            return word, path, chance.sample(_VALUES, chance.randint(1, 3))


def draw_value(chance: random.Random, depth: int = 2):
    roll = chance.random()
    if roll < 0.12:
        return None
    if depth and roll < 0.5:
        return {name: draw_value(chance, depth - 1) for name in chance.sample("xyz", chance.randint(0, 2))}
    return chance.choice((1, 1.0, 2, True, False, "text", "ü", [1, {"x": 2}], []))


def draw_entry(chance: random.Random):
    if chance.random() < 0.06:
        return chance.choice((7, "text"))
    settings = {"image": f"i{chance.randrange(3)}", "createOptions": "{}"}
    return {"type": "docker", "settings": settings, "env": {"A": {"value": chance.randrange(3)}}}


def draw_map(chance: random.Random) -> dict:
    return {name: draw_entry(chance) for name in chance.sample(_MODULES, chance.randint(0, 3))}


def draw_desired(chance: random.Random) -> dict:
    return {name: draw_value(chance) for name in chance.sample("xyz", chance.randint(0, 3))}


def draw_base(chance: random.Random) -> dict:
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {"edgeAgent": draw_entry(chance), "edgeHub": draw_entry(chance)},
        "modules": draw_map(chance),
    }
    for name in chance.sample(sorted(agent), chance.choice((0, 0, 0, 1))):
        del agent[name]
    content = {AGENT: {"properties.desired": agent}}
    if chance.random() < 0.8:
        content[HUB] = {
            "properties.desired": {"schemaVersion": "1.1", "routes": {"r1": "FROM /* INTO $upstream"}}
        }
    if chance.random() < 0.3:
        content[AGENT] |= draw_agent_paths(chance, 1)
    for name in chance.sample(_MODULES, chance.randint(0, 2)):
        content[name] = {"properties.desired": draw_desired(chance)}
    return content


def draw_layer(chance: random.Random) -> dict:
    content: dict = {}
    if chance.random() < 0.8:
        content[AGENT] = draw_agent_paths(chance, chance.randint(1, 3))
    if chance.random() < 0.3:
        paths = (
            ("routes.r1", "FROM /a INTO $upstream"),
            ("routes.r2", None),
            ("routes", {"r3": "x"}),
            ("x.y", 1),
        )
        content[HUB] = {f"properties.desired.{path}": value for path, value in chance.sample(paths, 2)}
    for name in chance.sample(_MODULES, chance.randint(0 if content else 1, 2)):
        paths = chance.sample(("", ".x", ".x.y", ".x.y.z", ".y", ".z"), chance.randint(1, 3))
        content[name] = {
            f"properties.desired{path}": draw_value(chance) if path else draw_desired(chance)
            for path in paths
        }
    return content


def draw_agent_paths(chance: random.Random, count: int) -> dict:
    paths = {}
    for _ in range(count):
        name = chance.choice(_MODULES)
        path, value = chance.choice(
            (
                (f"modules.{name}", draw_entry(chance)),
                (f"modules.{name}", draw_entry(chance)),
                (f"modules.{name}", None),
                (f"modules.{name}.env.B", {"value": chance.randrange(3)}),
                (f"modules.{name}.settings.image", "other"),
                (f"modules.{name}.env", None),
                ("modules", draw_map(chance)),
                ("modules", chance.choice((None, 7, {}))),
                ("systemModules.edgeHub", draw_entry(chance)),
                ("systemModules.edgeHub.env.C", {"value": True}),
                ("systemModules", None),
                ("runtime.settings.registryCredentials.r", {"address": "a"}),
                ("runtime", None),
            )
        )
        paths[f"properties.desired.{path}"] = value
    return paths
