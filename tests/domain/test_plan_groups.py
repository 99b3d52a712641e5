"""Devices before and after a rollout: who gives what, on devices for which the same deployments count."""

from __future__ import annotations

from typing import Any

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.layering import AGENT, Deployment
from edgeferry.domain.plan_groups import find_path_changes, group_devices, sort_devices

DOCUMENTS = [{"deviceId": f"d{number}", "tags": {"line": number % 2}} for number in range(4)]


def deploy(name: str, priority: int, condition: str = "*", **paths: Any) -> Deployment:
    """A deployment that sets these paths of `$edgeAgent`; `_` in a name stands for a dot."""
    settings = {
        ".".join(("properties.desired", *filter(None, path.split("_")))): value
        for path, value in paths.items()
    }
    return Deployment(name, priority, name, parse_condition(condition), {AGENT: settings})


def entry(image: str) -> dict[str, Any]:
    return {"settings": {"image": image}}


BASE = deploy("base", 0, _={"modules": {}, "systemModules": {}})
OLD = deploy("old", 10, modules_taxi=entry("taxi:1"))
NEW = deploy("new", 11, "tags.line = 1", modules_taxi=entry("taxi:2"))
WHOLE = deploy("whole", 20, modules={"taxi": entry("taxi:0")})
PATCH = deploy("patch", 5, modules_taxi_env={"A": 1})


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param([BASE], [BASE], {}, id="nothing"),
        pytest.param([BASE, OLD], [BASE, OLD, NEW], {"modules.taxi": ("old", "new")}, id="another giver"),
        pytest.param([BASE, OLD], [BASE], {"modules.taxi": ("old", "")}, id="nobody any more"),
        pytest.param(
            [BASE, PATCH],
            [BASE, PATCH, OLD],
            {"modules.taxi": ("", "old"), "modules.taxi.env": ("patch", "")},
            id="a layer covers what stood below",
        ),
        pytest.param([BASE, WHOLE], [BASE, WHOLE, OLD], {}, id="a layer beneath one that covers all"),
        pytest.param(
            [BASE, OLD], [BASE, OLD, WHOLE], {"modules.taxi": ("old", ""), "modules": ("", "whole")}, id="all"
        ),
        pytest.param([OLD], [BASE, OLD], {"": ("", "base"), "modules.taxi": ("", "old")}, id="a base comes"),
        pytest.param([OLD], [OLD, NEW], {}, id="layers without a base give nothing"),
    ],
)
def test_paths_change_hands(
    before: list[Deployment], after: list[Deployment], changes: dict[str, tuple[str, str]]
) -> None:
    groups = group_devices(before, after, DOCUMENTS)
    [group] = [one for one in groups if "d1" in one.devices]
    assert {one.path: (one.before, one.after) for one in find_path_changes(group)} == changes


def test_devices_that_the_same_targets_are_one_group() -> None:
    groups = group_devices([BASE, OLD], [BASE, OLD, NEW], DOCUMENTS)
    assert sorted(group.devices for group in groups) == [("d0", "d2"), ("d1", "d3")]
    assert [group.changes for group in sorted(groups, key=lambda one: one.devices)] == [False, True]
    assert sort_devices(groups, "taxi", "taxi:2") == {"gained": ("d1", "d3"), "lost": (), "unchanged": ()}
    back = group_devices([BASE, NEW], [BASE], DOCUMENTS)
    assert sort_devices(back, "taxi", "taxi:2") == {"gained": (), "lost": ("d1", "d3"), "unchanged": ()}
