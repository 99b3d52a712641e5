"""What a plan says that random changes will make of devices, and what a real hub then made of them."""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import closing

import pytest

from edgeferry.domain.explanation import find_drift
from edgeferry.domain.layering import Deployment, live_settings
from edgeferry.domain.plan_groups import Group, find_path_changes, group_devices
from edgeferry.wire.configuration import parse_deployment
from tests.hub.layering_oracle import write
from tests.hub.test_layering_oracle import DEVICES, World, draw_change

SETS = int(os.environ.get("EDGEFERRY_TEST_PLANNED_SETS", "40"))
"""Different sets of deployments planned for devices, for each seed; 2500 for four seeds are ten thousand."""
SEEDS = [int(seed) for seed in os.environ.get("EDGEFERRY_TEST_SEEDS", "1 2 3 4").split()]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_manifests_of_a_plan_are_the_twins_that_the_hub_makes(service, seed: int) -> None:
    world = World(service, DEVICES)
    with closing(world.pending):
        world.reset()
        chance, began = random.Random(seed), time.monotonic()
        seen: set[int] = set()
        changes = 0
        while len(seen) < SETS:
            change = draw_change(chance, world.oracle)
            if change[0] == "hand":  # nothing that a plan could know of
                continue
            if change[0] == "tags":
                world.make(change)
                continue
            groups = plan(service, change)
            if not world.make(change):
                continue
            changes += 1
            sets = [group.after.targeted for group in groups]
            seen |= {
                hash(repr([(one.priority, one.modules) for one in each])) for each in sets if len(each) > 1
            }
            compare(service, groups, change)
        print(f"seed {seed}: {len(seen)} sets, {changes} changes, {time.monotonic() - began:.1f} s")


def plan(service, change: tuple) -> list[Group]:
    """What the change would make of all devices."""
    before = {one["id"]: parse_deployment(one) for one in service.done("GET", "/configurations")}
    after = {**before}
    match change:
        case ("create", name, priority, condition, content) if name not in before:
            after[name] = deployment(name, priority, condition, content, "9999-12-31T23:59:59Z")
        case ("update", name, priority, condition):
            old = before[name]
            after[name] = deployment(name, priority, condition, old.modules, old.created_at)
        case ("delete", name):
            del after[name]
    rows = service.done("POST", "/devices/query", {"query": "SELECT * FROM devices"})
    return group_devices(list(before.values()), list(after.values()), rows)


def deployment(name: str, priority: int, condition: tuple, content: dict, created_at: str) -> Deployment:
    document = {
        "id": name,
        "priority": priority,
        "targetCondition": write(condition),
        "content": {"modulesContent": content},
        "createdTimeUtc": created_at,
    }
    return parse_deployment(document)


def compare(service, groups: list[Group], change: tuple) -> None:
    rows = []
    query = {"query": "SELECT deviceId, moduleId, properties.desired FROM devices.modules"}
    headers = {"x-ms-max-item-count": "1000"}
    while True:
        response = service.ask("POST", "/devices/query", query, headers=headers)
        rows += response.json()
        if not (after := response.headers.get("x-ms-continuation")):
            break
        headers = {**headers, "x-ms-continuation": after}
    twins: dict[str, dict[str, dict]] = {}
    for row in rows:
        twins.setdefault(row["deviceId"], {})[row["moduleId"]] = {"properties": {"desired": row["desired"]}}
    assert sum(len(group.devices) for group in groups) == len(twins) == DEVICES
    for group in groups:
        told = {(one.module, one.path): (one.before, one.after) for one in find_path_changes(group)}
        assert told == find_all_changes(group), change
        for device in group.devices:
            assert not find_drift(group.after.desired, twins[device]), (device, change, group.after.targeted)


def find_all_changes(group: Group) -> dict[tuple[str, str], tuple[str, str]]:
    """By module and path who gives it before and after, where that, or what is given, differs."""
    sides = [
        {
            (module, ".".join(path)): (
                one.id,
                one.modules[module][".".join(("properties", "desired", *path))],
            )
            for (module, path), one in live_settings(merged.applied).items()
        }
        for merged in (group.before, group.after)
    ]
    before, after = sides
    return {
        place: (before.get(place, ("",))[0], after.get(place, ("",))[0])
        for place in before.keys() | after.keys()
        if json.dumps(before.get(place)) != json.dumps(after.get(place))
    }
