"""When a plan that was approved no longer holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeferry.domain.plan_conflicts import Conflict, Kind
from edgeferry.domain.rollout_plan import RolloutPlan, find_drift

DEVICES = [f"d{number}" for number in range(20)]
BLOCK = Conflict(Kind.MODULE, "blocks", "x sets it too", "rename one", 1, ("d1",), ("x",))
APPROVED = RolloutPlan(
    release="taxi-v1-aaaaaaaa",
    release_signature="signed",
    environment="prod",
    condition="tags.line = 1",
    layer="edgeferry-taxi",
    content_sha256="aa",
    waves=(),
    strata=dict.fromkeys(DEVICES, ""),
    groups={},
    gained=tuple(DEVICES),
    lost=("known",),
    unchanged=(),
    conflicts=(BLOCK,),
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({}, "", id="nothing"),
        pytest.param({"release_signature": "other"}, "another content of taxi", id="the release"),
        pytest.param({"environment": "dev"}, "in prod", id="the environment"),
        pytest.param({"condition": "*"}, "it is for 'tags.line = 1'", id="the condition"),
        pytest.param({"content_sha256": "bb"}, "another content", id="the layer"),
        pytest.param(
            {"conflicts": (BLOCK, replace(BLOCK, deployments=("y",), problem="y sets it"))},
            "in the way now: y sets it",
            id="a new conflict",
        ),
        pytest.param({"conflicts": (replace(BLOCK, devices=2),)}, "", id="a conflict that was known"),
        pytest.param(
            {"conflicts": (replace(BLOCK, kind=Kind.MOUNT, severity="warns"),)}, "", id="one that only warns"
        ),
        pytest.param({"lost": ("known", "d7")}, "d7 would lose", id="a device that would lose it"),
        pytest.param({"strata": dict.fromkeys([*DEVICES, "n1"], "")}, "", id="5 per cent more devices"),
        pytest.param(
            {"strata": dict.fromkeys([*DEVICES, "n1", "n2"], "")}, "2 more devices", id="10 per cent more"
        ),
        pytest.param({"strata": dict.fromkeys(DEVICES[:9], "")}, "", id="fewer devices"),
        pytest.param(
            {"strata": dict.fromkeys([*DEVICES[1:], "n1", "n2"], "")}, "2 more", id="others instead"
        ),
        pytest.param(
            {"strata": {}, "conflicts": (BLOCK, replace(BLOCK, kind=Kind.NOBODY))}, "", id="nobody any more"
        ),
    ],
)
def test_a_plan_drifts(changes: dict[str, Any], reason: str) -> None:
    found = find_drift(APPROVED, replace(APPROVED, **changes))
    assert reason in found
    assert bool(reason) == bool(found)


def test_what_only_warned_when_it_was_approved_may_not_block_now() -> None:
    approved = replace(APPROVED, conflicts=(replace(BLOCK, severity="warns"),))
    assert "in the way now" in find_drift(approved, APPROVED)


@pytest.mark.parametrize(("approved", "now", "holds"), [(1, 2, True), (1, 3, False), (0, 1, False)])
def test_a_small_fleet_may_gain_one_device(approved: int, now: int, holds: bool) -> None:
    before = replace(APPROVED, strata=dict.fromkeys(DEVICES[:approved], ""))
    after = replace(APPROVED, strata=dict.fromkeys(DEVICES[:now], ""))
    assert (find_drift(before, after) == "") is holds
