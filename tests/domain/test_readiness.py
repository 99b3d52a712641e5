"""What doctor makes of facts that no test can seed for real."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.diagnosis import Diagnosis, is_healthy
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.machine import (
    GIB,
    ContainerReach,
    EngineFacts,
    MachineFacts,
    Needs,
    judge_engine,
    judge_machine,
    judge_reach,
)
from edgeferry.domain.readiness import DeviceSeen, judge_clock, judge_fleet, judge_gate, judge_quota

GOOD = MachineFacts(
    system="Debian GNU/Linux 12 (bookworm)",
    system_id="debian",
    system_version="12",
    python="3.11.7",
    missing_programs=(),
    missing_modules=(),
    free_bytes=50 * GIB,
    memory_bytes=8 * GIB,
    open_files=65536,
    state="/project/.edgeferry",
    state_problem="",
    may_execute=True,
    loose_keys=(),
    exposed_state="",
    may_unshare=True,
)
ENGINE = EngineFacts("20.10.24", "1.41", True, 50 * GIB)
NEEDS = Needs(("git", "mmdebstrap"), (("mlflow", "train"), ("uv", "train"), ("azure.identity", "azure")))
DEVICE = DeviceSeen("press-1", True, "edgeferry 0.1.0", "amd64")


def bad(found):
    """Check and grade of all that is not as it must be."""
    assert all(one.fix for one in found if one.grade in ("warning", "blocker"))
    return [(one.check, one.grade) for one in found if one.grade != "fine"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, [], id="all is well"),
        pytest.param({"system_version": "13"}, [("system", "note")], id="a system that is documented only"),
        pytest.param({"system_id": "arch"}, [("system", "note")], id="a system that nobody tried"),
        pytest.param({"missing_programs": ("docker-registry",)}, [], id="a program that is not needed"),
        pytest.param(
            {"missing_modules": ("mlflow", "uv")}, [("extra.train", "blocker")], id="an extra, named once"
        ),
        pytest.param(
            {"missing_modules": ("azure.identity",)}, [("extra.azure", "blocker")], id="Azure's libraries"
        ),
        pytest.param({"may_unshare": False}, [("user-namespaces", "warning")], id="no user namespaces"),
        pytest.param({"memory_bytes": GIB}, [("memory", "warning")], id="little memory"),
        pytest.param({"free_bytes": 2 * GIB}, [("disk", "warning")], id="a disk that fills up"),
        pytest.param({"free_bytes": 0}, [("disk", "blocker")], id="a disk that is full"),
        pytest.param(
            {"state_problem": "it is a file", "loose_keys": ("k",)},
            [("state", "blocker")],
            id="only the cause",
        ),
    ],
)
def test_a_machine_is_judged_by_what_the_settings_need(changed, expected):
    assert bad(list(judge_machine(replace(GOOD, **changed), NEEDS))) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, [], id="good"),
        pytest.param({"api_version": "1.40"}, [("engine", "blocker")], id="too old"),
        pytest.param({"api_version": "1.5"}, [("engine", "blocker")], id="compared as numbers"),
        pytest.param({"limits_memory": False}, [("engine.limits", "blocker")], id="no limits"),
        pytest.param({"free_bytes": 2 * GIB}, [("engine.disk", "warning")], id="little room"),
        pytest.param({"free_bytes": None}, [], id="on another machine"),
    ],
)
def test_an_engine_must_run_images_under_limits(changed, expected):
    assert bad(list(judge_engine(replace(ENGINE, **changed)))) == expected


@pytest.mark.parametrize(
    ("reach", "expected"),
    [
        pytest.param(ContainerReach("hub", {443: "", 8883: ""}), "fine", id="both ports"),
        pytest.param(ContainerReach("hub", {443: "", 8883: "timed out"}), "blocker", id="one of two"),
        pytest.param(ContainerReach("hub", {}, "no image yet"), "note", id="not tried is not fine"),
    ],
)
def test_containers_must_reach_every_port_of_the_hub(reach, expected):
    assert [one.grade for one in judge_reach(reach)] == [expected]


@pytest.mark.parametrize(
    ("trusted", "approvals", "grows", "grade", "says"),
    [
        pytest.param((), 1, True, "fine", "one: whoever signs first", id="keys are made on first use"),
        pytest.param(("ann",), 1, True, "fine", "one: 1", id="one has signed"),
        pytest.param(("ann",), 2, True, "fine", "one: 1 and whoever signs first", id="a second one may"),
        pytest.param((), 1, False, "blocker", "are those of nobody", id="a project's folder without keys"),
        pytest.param(("ann",), 2, False, "blocker", "are those of ann", id="with too few"),
        pytest.param(("ann", "bob"), 2, False, "fine", "one: 2", id="with enough"),
    ],
)
def test_a_gate_is_ready_when_enough_people_have_a_key_or_may_make_one(
    trusted, approvals, grows, grade, says
):
    (found,) = judge_gate(GatePolicy(approvals=approvals), trusted, "keys", grows=grows)
    assert (found.grade, says in found.seen) == (grade, True), found


@pytest.mark.parametrize(
    ("skew_s", "grade"), [(0, "fine"), (-60, "fine"), (61, "blocker"), (-86400, "blocker"), (None, "note")]
)
def test_a_clock_may_be_a_minute_off_and_one_that_is_not_known_is_not_called_fine(skew_s, grade):
    assert judge_clock(skew_s).grade == grade


@pytest.mark.parametrize(("count", "grade"), [(0, "fine"), (89, "fine"), (90, "warning"), (100, "blocker")])
def test_a_full_hub_is_told_before_a_rollout_meets_it(count, grade):
    assert judge_quota(count).grade == grade


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, [], id="as it must be"),
        pytest.param({"architecture": "x86_64"}, [], id="the same processor by another name"),
        pytest.param(
            {"architecture": "aarch64"}, [("fleet.architecture", "warning")], id="another processor"
        ),
        pytest.param({"runtime": "edgeferry 0.0.9"}, [("fleet.versions", "warning")], id="an older agent"),
        pytest.param({"runtime": "1.4.27 abc"}, [("fleet.iotedge", "warning")], id="IoT Edge past its end"),
        pytest.param({"runtime": "1.5.3 abc"}, [], id="IoT Edge that is supported"),
        pytest.param({"connected": False}, [("fleet.connection", "warning")], id="away"),
        pytest.param({"connected": False, "runtime": ""}, [("fleet.agents", "warning")], id="never there"),
    ],
)
def test_devices_are_named_by_what_is_wrong_with_them(changed, expected):
    found = list(judge_fleet([DEVICE, replace(DEVICE, device="press-2", **changed)], "", "0.1.0", "amd64"))
    assert bad(found) == expected
    assert all("press-2" in one.seen and "press-1" not in one.seen for one in found if one.grade == "warning")


@pytest.mark.parametrize("runtime", ["", "edgeferry 0.1.0"])
def test_a_device_of_this_machine_that_is_away_is_started_again_by_up(runtime):
    seen = [
        replace(DEVICE, device=name, connected=False, runtime=runtime) for name in ("device-1", "press-2")
    ]
    found = {one.seen: one.fix for one in judge_fleet(seen, "", "0.1.0", "amd64", ["device-1"]) if one.fix}
    assert [fix for told, fix in found.items() if "device-1" in told] == ["edgeferry up"]
    assert [fix for told, fix in found.items() if "press-2" in told] not in ([], ["edgeferry up"])


def test_warnings_alone_stand_in_nobodys_way():
    assert is_healthy([Diagnosis("a", "warning", "x", "y"), Diagnosis("b", "fine", "z")])
    assert not is_healthy([Diagnosis("a", "blocker", "x", "y")])
